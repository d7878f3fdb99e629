"""A model made ready to be loaded: resolved, planned for this machine, and on this disk.

    resolve → choose → fetch, if it isn't here → read the real header → choose again

`choosing` makes the first choice, before anything is downloaded. The second is the one that counts:
what was planned from a catalog's row or a remote header is checked against the file itself, before
anything native touches it. It is a dry load, too: llama.cpp is asked what it would take for this
very plan. What `edgellm tune` found for the file goes in here, where no flag says otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from pathlib import Path

from edgellm.chat.defaults import Defaults
from edgellm.chat.templating.template import ChatTemplate
from edgellm.cli.flags.adapting import pooled, with_adapters
from edgellm.cli.flags.seeing import with_projector
from edgellm.cli.preparing.choosing import Chosen, chosen
from edgellm.cli.preparing.fetching import fetch_aloud
from edgellm.cli.preparing.model_settings import ModelSettings
from edgellm.cli.preparing.planning import planned, planned_as_tuned, planned_smaller
from edgellm.cli.preparing.resolve import DEMO, Resolved, on_disk
from edgellm.models import local
from edgellm.models.gguf.header import GGUFHeader
from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Hardware
from edgellm.runner.adapters import Adapter
from edgellm.selector.plan import Candidate, DraftFile, Goal, Plan

Fetching = Callable[[Resolved, Candidate], Path]
# After an out-of-memory, and so many others that were tried before: the next smaller one.
Replan = Callable[[Plan, int], Plan | None]


@dataclass(frozen=True, slots=True)
class Prepared:
    name: str
    path: Path
    plan: Plan
    replan: Replan
    template: ChatTemplate
    spec: ModelSpec
    headers: tuple[GGUFHeader, ...] = field(default=(), repr=False)
    created_s: int = 0  # Unix seconds
    is_demo: bool = False
    sleeps: bool = False  # it is loaded when it is asked for, and makes place for others
    is_pinned: bool = False  # it makes no place for others
    keep_s: float = inf  # of idling, before one that sleeps goes though nobody needs its place
    on: "Callable[[Hardware], Prepared] | None" = None  # the same file on another machine
    may_go: bool = False  # nobody named it: it is served as long as it is here
    aliases: tuple[str, ...] = ()  # that clients may use, beside the short forms of its name
    adapters: tuple[Adapter, ...] = ()
    defaults: Defaults = field(default_factory=Defaults)  # what requests don't say


def prepare(
    resolved: Resolved,
    hardware: Hardware,
    goal: Goal,
    *,
    name: str | None = None,
    fetching: Fetching = fetch_aloud,
    uses_tuned: bool = True,
) -> Prepared:
    """Raises DoesNotFit, BadGGUF, NetworkError, StorageError, BadRequest."""
    first = chosen(resolved, hardware, resolved.settings.goal if resolved.settings else goal)
    return fetched(first, hardware, name=name, fetching=fetching, uses_tuned=uses_tuned)


def fetched(
    choice: Chosen,
    hardware: Hardware,
    *,
    name: str | None = None,
    fetching: Fetching = fetch_aloud,
    uses_tuned: bool = True,
    asks_oracle: bool = True,
) -> Prepared:
    """What was chosen, on this disk and planned as it really is. Raises as `prepare`."""
    resolved, goal = choice.resolved, choice.goal
    settings = resolved.settings or ModelSettings(goal)
    own_name = (resolved.name,) if settings.name else ()  # `run` finds it by that, too
    draft = _draft(choice.draft, fetching) if choice.draft else None
    path, here = _file(choice, fetching, name or settings.name)
    one = replace(with_adapters(here, resolved.adapters), draft=draft)

    def on(machine: Hardware) -> Prepared:
        plan_for = planned_as_tuned if uses_tuned else planned
        with settings.naming_table():
            plan = settings.told(plan_for(machine, (one,), goal, asks_oracle=asks_oracle))
        return Prepared(
            name=plan.model,
            path=path,
            plan=plan,
            replan=partial(planned_smaller, hardware=machine, candidates=(one,), goal=goal),
            template=_template(here.headers[0]),
            spec=here.spec,
            headers=here.headers,
            created_s=int(path.stat().st_mtime),
            is_demo=resolved.name == DEMO,
            sleeps=settings.sleeps,
            keep_s=settings.idles_s,
            is_pinned=settings.is_pinned,
            on=on,
            aliases=(*settings.aliases, *own_name),
            adapters=resolved.adapters,
            defaults=settings.defaults,
        )

    return on(hardware)


def _draft(choice: Chosen, fetching: Fetching) -> DraftFile:
    path, here = _file(choice, fetching)
    return DraftFile(str(path), here.spec)


def _file(choice: Chosen, fetching: Fetching, name: str | None = None) -> tuple[Path, Candidate]:
    """On this disk and checked; what it really is."""
    resolved, wanted = choice.resolved, choice.wanted
    path = fetching(resolved, wanted)
    local.check(path)
    (here,) = on_disk(path, name or wanted.name, wanted.quant).candidates
    here = pooled(here, resolved)
    if resolved.is_local:  # then its projector was looked at when it was resolved
        return path, replace(
            here,
            projector=wanted.projector,
            projector_bytes=wanted.projector_bytes,
            modalities=wanted.modalities,
        )
    return path, with_projector(here, resolved)


def _template(header: GGUFHeader) -> ChatTemplate:
    tokens = header.tokens
    return ChatTemplate(
        header.chat_template,
        header.bos_token or "",
        header.eos_token or "",
        has_im_start=tokens is not None and "<|im_start|>" in tokens,
        adds_bos=header.add_bos is not False,
        tool_source=header.text("tokenizer.chat_template.tool_use"),
    )
