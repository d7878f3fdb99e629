"""A model made ready to be loaded: resolved, planned for this machine, and on this disk.

    resolve → choose → fetch, if it isn't here → read the real header → choose again

The second choice is the one that counts: what was planned from a catalog's row or a remote header
is checked against the file itself, before anything native touches it. It is a dry load, too:
llama.cpp is asked what it would take for this very plan. What `edgellm tune` found for the file
goes in here, where no flag says otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgellm.chat.templating.template import ChatTemplate
from edgellm.cli.flags.adapting import pooled, with_adapters
from edgellm.cli.flags.drafting import draft_goal
from edgellm.cli.flags.seeing import sighted
from edgellm.cli.preparing import machine
from edgellm.cli.preparing.fetching import fetch_aloud
from edgellm.cli.preparing.planning import planned, planned_as_tuned, planned_smaller
from edgellm.cli.preparing.resolve import DEMO, Resolved, on_disk
from edgellm.errors import BadRequest
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
    on: "Callable[[Hardware], Prepared] | None" = None  # the same file on another machine
    adapters: tuple[Adapter, ...] = ()


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
    draft = None
    if resolved.draft and goal.speculate != "off":
        draft, goal = _draft(resolved.draft, hardware, fetching), replace(goal, speculate="draft")
    path, here = _fetched(resolved, hardware, goal, fetching, name, draft)
    one = replace(with_adapters(here, resolved.adapters), draft=draft)

    def on(machine: Hardware) -> Prepared:
        plan = (planned_as_tuned if uses_tuned else planned)(machine, (one,), goal)
        return Prepared(
            name=plan.model,
            path=path,
            plan=plan,
            replan=lambda failed, n_before: planned_smaller(
                failed, n_before, machine, (one,), goal
            ),
            template=_template(here.headers[0]),
            spec=here.spec,
            headers=here.headers,
            created_s=int(path.stat().st_mtime),
            is_demo=resolved.name == DEMO,
            on=on,
            adapters=resolved.adapters,
        )

    return on(hardware)


def _draft(resolved: Resolved, hardware: Hardware, fetching: Fetching) -> DraftFile:
    path, here = _fetched(resolved, hardware, draft_goal(), fetching)
    return DraftFile(str(path), here.spec)


def _fetched(
    resolved: Resolved,
    hardware: Hardware,
    goal: Goal,
    fetching: Fetching,
    name: str | None = None,
    draft: DraftFile | None = None,
) -> tuple[Path, Candidate]:
    """The file that suits best, on this disk and checked; what it really is."""
    wanted = resolved.candidates[0]
    if len(resolved.candidates) > 1 or not resolved.is_local:
        candidates = [replace(one, draft=draft) for one in resolved.candidates]
        wished = planned(hardware, candidates, goal, asks_oracle=False)
        wanted = next(one for one in resolved.candidates if one.file == wished.file)
    path = fetching(resolved, wanted)
    local.check(path)
    (here,) = on_disk(path, name or wanted.name, wanted.quant).candidates
    here = pooled(here, resolved)
    if resolved.is_local:  # then its projector was looked at when it was resolved
        return path, replace(
            here, projector=wanted.projector, projector_bytes=wanted.projector_bytes
        )
    return path, sighted(here, resolved)


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


def prepare_all(
    models: Sequence[Resolved],
    hardware: Hardware,
    goal: Goal,
    *,
    embedding: Resolved | None = None,
    name: str | None = None,
    sleeps: bool = False,
) -> tuple[Prepared, ...]:
    """The models and, beside the first one, the embedding model in what memory that leaves.

    Several take turns in memory, each planned as if it were the only one; `sleeps`: and a single
    one, too, is there when it is asked for. `name` is the first one's.

    Raises BadRequest when the embedding model is none, or the first one is one already, or two
    would have one name: of several that take turns before anything is fetched.
    """
    own = [one.candidates[0].name for one in models]
    _check_names([name or own[0], *own[1:]], "serve one by itself, with --port 0 beside the others")
    goal = replace(goal, n_turns=len(models))
    first = prepare(models[0], hardware, goal, name=name)
    beside = (_embedding_beside(first, embedding, hardware, goal),) if embedding else ()
    left = machine.without(hardware, beside[0].plan) if beside else hardware
    others = [prepare(one, left, goal) for one in models[1:]]
    takes_turns = sleeps or bool(others)
    turns = (replace(one, sleeps=takes_turns) for one in (first, *others))
    prepared = (*turns, *beside)
    _check_names([one.name for one in prepared], "--name gives MODEL another name")
    return prepared


def _embedding_beside(
    first: Prepared, embedding: Resolved, hardware: Hardware, goal: Goal
) -> Prepared:
    if first.plan.embedding:
        raise BadRequest(
            f"{first.name} is an embedding model itself, and one is served at a time",
            hint="leave --embedding out, or name a generative MODEL",
        )
    own_goal = Goal(
        reserve_bytes=goal.reserve_bytes,
        n_threads=goal.n_threads,
        batch_invariant=goal.batch_invariant,
    )
    second = prepare(embedding, machine.without(hardware, first.plan), own_goal)
    if not second.plan.embedding:
        raise BadRequest(
            f"{second.name} writes text; it is no embedding model",
            hint="edgellm serve MODEL --embedding qwen3-embedding:0.6b",
        )
    return second


def _check_names(names: Sequence[str], hint: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise BadRequest(
                f"two would be called {name}, and clients could ask for one only", hint=hint
            )
        seen.add(name.casefold())
