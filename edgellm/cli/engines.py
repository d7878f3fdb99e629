"""A plan made real: the worker is started, and a smaller plan is tried when memory runs out."""

import time
from collections.abc import Callable
from pathlib import Path

from edgellm.chat.template import ChatTemplate
from edgellm.errors import DoesNotFit
from edgellm.models import local
from edgellm.models.gguf import GGUFHeader
from edgellm.probe.hardware import Hardware
from edgellm.runner.supervisor import Supervisor
from edgellm.selector.choose import smaller
from edgellm.selector.plan import Candidate, Goal, Plan
from edgellm.selector.profiles import Profiles
from edgellm.server.served import Served

_MAX_PLANS = 3


async def start_engine(
    path: Path,
    plan: Plan,
    replan: Callable[[Plan], Plan | None],
    *,
    max_queue: int,
    say: Callable[[str], None],
) -> Supervisor:
    """Raises what the last plan failed with: DoesNotFit, BadGGUF, WorkerDied."""
    for attempt in range(1, _MAX_PLANS + 1):
        engine = Supervisor(str(path), plan, max_queue=max_queue)
        try:
            await engine.start()
            return engine
        except DoesNotFit as error:
            await engine.stop()
            less = replan(plan) if attempt < _MAX_PLANS else None
            if less is None:
                raise
            say(f"out of memory ({error}); trying {less.quant}, {less.n_ctx_seq} tokens of context")
            plan = less
    raise AssertionError("unreachable: the loop returns or raises")


def replanner(
    hardware: Hardware, candidates: tuple[Candidate, ...], goal: Goal, profiles: Profiles
) -> Callable[[Plan], Plan | None]:
    return lambda plan: smaller(plan, hardware, candidates, goal, profiles)


def served(name: str, engine: Supervisor, path: Path, *, demo: bool = False) -> Served:
    """The engine with what the server must know of its file: template, licence, sizes."""
    header = local.read_header(path)
    return Served(
        name=name,
        engine=engine,
        template=_template(header),
        aliases=(name.rpartition("/")[2],),
        created=int(time.time()),
        demo=demo,
        spec=local.read_spec(path),
    )


def _template(header: GGUFHeader) -> ChatTemplate:
    tokens = header.tokens
    return ChatTemplate(
        header.chat_template,
        header.bos_token or "",
        header.eos_token or "",
        has_im_start=tokens is not None and "<|im_start|>" in tokens,
        adds_bos=header.add_bos is not False,
    )
