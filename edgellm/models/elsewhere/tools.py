"""All tools whose models are found: what they have here, and what a reference means of it."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from edgellm.errors import BadGGUF, EdgellmError, ModelNotFound
from edgellm.models.elsewhere import gpt4all, jan, llamacpp, lmstudio, ollama
from edgellm.models.elsewhere.forms import check_form
from edgellm.models.elsewhere.found import FoundModel, Unfit, means
from edgellm.models.elsewhere.reference import TITLES, ElsewhereReference
from edgellm.models.elsewhere.shut import Shut, shut_of
from edgellm.models.gguf.header import GGUFHeader
from edgellm.values import frozen


@frozen
class Tool:
    doors: Callable[[], tuple[Path, ...]]  # folders that its user must be able to look into
    models: Callable[[], Iterable[FoundModel | Unfit]]
    removal: Callable[[str], str]  # a model's name there -> what rids its user of it


TOOLS: Final[Mapping[str, Tool]] = {
    ollama.TOOL: Tool(ollama.doors, ollama.models, ollama.removal),
    **{
        one.TOOL: Tool(one.stores, one.models, one.removal)
        for one in (lmstudio, llamacpp, jan, gpt4all)
    },
}


def found_models() -> Iterator[FoundModel]:
    """All that can be served as they lie. A store that is broken or shut costs itself only."""
    for tool in TOOLS.values():
        for one in tool.models():
            if isinstance(one, FoundModel):
                yield one


def shut_stores() -> tuple[Shut, ...]:
    """Those that are here, and not for this user's eyes."""
    return tuple(
        shut for name, tool in TOOLS.items() for shut in shut_of(TITLES[name], tool.doors())
    )


def found_by(reference: ElsewhereReference) -> tuple[FoundModel, ...]:
    """One model, or its quantizations. Raises ModelNotFound, StorageError where the store is shut,
    and what keeps the model from being served."""
    there = [*TOOLS[reference.tool].models()]
    meant = [one for one in there if means(one, reference)]
    if fit := tuple(one for one in meant if isinstance(one, FoundModel)):
        return fit
    for one in meant:
        if isinstance(one, Unfit):
            raise _told(reference, one.fault)
    raise _not_there(reference, there)


def check_servable(model: FoundModel, headers: Sequence[GGUFHeader]) -> None:
    """Raises BadGGUF for a form of GGUF that only its own tool loads."""
    if model.tool == ollama.TOOL:
        try:
            check_form(headers)
        except BadGGUF as fault:
            raise _told(model.reference, fault) from fault


def removal_of(reference: ElsewhereReference) -> str:
    return TOOLS[reference.tool].removal(reference.name)


def _told(reference: ElsewhereReference, fault: EdgellmError) -> EdgellmError:
    """With the model's name before it, where it has none."""
    told, name = str(fault), reference.text
    return type(fault)(told if name in told else f"{name}: {told}", hint=fault.hint)


def _not_there(reference: ElsewhereReference, there: Iterable[FoundModel | Unfit]) -> EdgellmError:
    shut = shut_of(reference.title, TOOLS[reference.tool].doors())
    if shut:
        return shut[0].error
    shown = [one.names[0] for one in there if isinstance(one, FoundModel)]
    near = difflib.get_close_matches(reference.name, shown, n=3, cutoff=0.4) or shown[:3]
    names = ", ".join(f"{reference.tool}:{name}" for name in near)
    hint = (
        f"it has {names}" if near else f"{reference.title} has no model here that llama.cpp loads"
    )
    return ModelNotFound(f"{reference.title} has no {reference.name}", hint=hint)
