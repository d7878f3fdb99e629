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


async def life(path, plan, prompts, kept):
    """What one worker answered, and its last gauge: one that tells of `kept` bytes, if any does."""
    engine = Supervisor(str(path), plan)
    await engine.start()
    try:
        answers = [await answer(engine, prompt) for prompt in prompts]
        for _ in range(100):
            await asyncio.sleep(0.05)
            if engine.gauge and getattr(engine.gauge, kept) and not engine.gauge.n_running:
                break
        return answers, engine.gauge
    finally:
        await engine.stop()
