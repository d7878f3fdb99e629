"""The real worker process with the demo model, for as long as one scenario takes."""

import asyncio
import os
import sys

from real_model import demo_path, plan

from edgellm.chat.events import Failed, Finished, TextDelta
from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.sandbox.rules import USUAL, Wish
from edgellm.runner.supervisor import Supervisor
from edgellm.units import KIB

# An answer that lasts: no machine has written all of it before somebody breaks it off.
ROOMY = {"n_ctx": 1 << 16, "n_ctx_seq": 1 << 16}
LONG = 16_000


def greedy(n, **more):
    return GenerateParams(SamplingParams(temperature=0, ignore_eos=True), n, **more)


def reaching(*folders):
    """The sandbox of a worker whose adapters may come from these folders at run time."""
    return Wish(reach=tuple(os.fsencode(folder) for folder in folders))


def supervise(
    scenario, *, path=None, max_queue=512, patience=None, within_s=120, sandbox=USUAL, **choices
):
    """Run `scenario(engine)` with a started engine."""

    async def run():
        engine = Supervisor(
            str(path or demo_path()),
            plan(**choices),
            max_queue=max_queue,
            patience=patience,
            sandbox=sandbox,
        )
        await engine.start()
        try:
            return await asyncio.wait_for(scenario(engine), within_s)
        finally:
            await engine.stop()

    return asyncio.run(run())


async def collect(engine, prompt, params):
    """The text, and the one ending."""
    text, endings = "", []
    async for event in engine.generate(prompt, params):
        match event:
            case TextDelta(piece):
                assert not endings, "something came after the end"
                text += piece
            case Finished() | Failed():
                endings.append(event)
    assert len(endings) == 1
    return text, endings[0]


async def ending_of(stream):
    return [event async for event in stream if not isinstance(event, TextDelta)][-1]


def limit_address_space(n_bytes, folder, monkeypatch):
    """Children alone get the limit: what this process maps by now may be more than any sensible
    one, and where memory is given out before it is there, the kernel kills what is not limited."""
    limited = folder / "limited-python"
    limited.write_text(f'#!/bin/sh\nulimit -v {n_bytes // KIB}\nexec "{sys.executable}" "$@"\n')
    limited.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(limited))
