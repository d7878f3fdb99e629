"""A Fleet whose engines are fakes, and run out of memory when they are told to."""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

from selector_specs import dense
from server.server_fakes import FakeEngine
from server.server_fakes import plan as any_plan

from edgellm.chat.templating.template import ChatTemplate
from edgellm.cli.preparing.prepare import Prepared
from edgellm.cli.serving.engines import Fleet
from edgellm.errors import NotServing
from edgellm.runner.adapters import AdapterList
from edgellm.runner.messages import Gauge

IDLE = Gauge(0, 0, 0, 1024, 0, 0, 0, 0, 0, 0)


@dataclass(eq=False)
class Loadable(FakeEngine):
    """`trouble` is what `start` raises; None: it gets ready."""

    trouble: Exception | None = None
    state: str = "starting"
    stopped: list = field(default_factory=list)
    is_slow: bool = False  # it loads until it is stopped

    async def start(self):
        assert self.state == "starting", "an engine is started once"
        self.state = "loading"
        await asyncio.sleep(0)
        while self.is_slow and self.state == "loading":  # noqa: ASYNC110 - until it is stopped
            await asyncio.sleep(0.001)
        if self.trouble:
            self.state = "failed"
            raise self.trouble
        if self.state == "stopped":
            raise NotServing("stopped while it loaded")
        self.state, self.gauge = "ready", IDLE

    async def stop(self, grace_s=5.0):
        self.state = "stopped"
        self.stopped.append(grace_s)


class Garage:
    """Makes engines, one trouble for each to come, and then engines without."""

    def __init__(self, *troubles):
        self.troubles, self.engines = list(troubles), []

    def __call__(self, prepared, plan, max_queue):
        trouble = self.troubles.pop(0) if self.troubles else None
        adapters = AdapterList(prepared.adapters)
        self.engines.append(Loadable(plan=plan, trouble=trouble, adapters=adapters))
        return self.engines[-1]


def halved(plan, n_before):
    """The next smaller plan: half the context, down to 128."""
    return replace(plan, n_ctx_seq=plan.n_ctx_seq // 2) if plan.n_ctx_seq > 128 else None


def prepared(name="tiny", replan=halved, **changes):
    plan = any_plan(name)
    return Prepared(name, Path("tiny.gguf"), plan, replan, ChatTemplate(None), dense(), **changes)


def fleet(*troubles, aliases=(), caretaker=None):
    said, garage = [], Garage(*troubles)
    return Fleet(16, said.append, garage, aliases, caretaker), garage, said
