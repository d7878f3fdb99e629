"""Real workers, one after the other, over one folder of prefixes."""

import asyncio

from edgellm.chat.events import Finished, TextDelta
from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.supervisor import Supervisor


async def answer(engine, prompt):
    """Twelve tokens with their logprobs, and how it ended."""
    params = GenerateParams(SamplingParams(temperature=0, ignore_eos=True), 12, logprobs=2)
    told, end = [], None
    async for event in engine.generate(prompt, params):
        if isinstance(event, TextDelta):
            told += event.logprobs
        elif isinstance(event, Finished):
            end = event
    return told, end


async def _kept(engine, kept):
    """Until it has some bytes, and for some tenths of a second no more. Or five seconds. Of a
    worker that answers meanwhile: that of one which stands still says nothing."""
    n_bytes, n_same = 0, 0
    for _ in range(100):
        await asyncio.sleep(0.05)
        await engine.detokenize((1,))
        found = getattr(engine.gauge, kept) if engine.gauge else 0
        n_same = n_same + 1 if found and found == n_bytes and not engine.gauge.n_running else 0
        n_bytes = found
        if n_same == 6:
            return


async def life(path, plan, prompts, kept=None):
    """What one worker answered, and its last gauge: one that tells of `kept` bytes, if any does.
    Without `kept` nothing is waited for that it writes aside."""
    engine = Supervisor(str(path), plan)
    await engine.start()
    try:
        answers = [await answer(engine, prompt) for prompt in prompts]
        if kept:
            await _kept(engine, kept)
        return answers, engine.gauge
    finally:
        await engine.stop()
