"""All tools whose models are found: what they have here, and what a reference means of it."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from edgellm.errors import BadGGUF, EdgellmError, ModelNotFound
from edgellm.models.elsewhere import gpt4all, jan, llamacpp, lmstudio, ollama
from edgellm.models.elsewhere.found import FoundModel, Unservable, matches
from edgellm.models.elsewhere.ollama_format import check_format
from edgellm.models.elsewhere.reference import TITLES, ElsewhereReference
from edgellm.models.elsewhere.unreadable import Unreadable, unreadable_folders
from edgellm.models.gguf.header import GGUFHeader
from edgellm.values import frozen


@frozen
class Tool:
    folders: Callable[[], tuple[Path, ...]]  # that a user must be able to read
    models: Callable[[], Iterable[FoundModel | Unservable]]
    removal: Callable[[str], str]  # a model's name there -> what rids its user of it


TOOLS: Final[Mapping[str, Tool]] = {
    ollama.TOOL: Tool(ollama.folders, ollama.models, ollama.removal),
    **{
        one.TOOL: Tool(one.stores, one.models, one.removal)
        for one in (lmstudio, llamacpp, jan, gpt4all)
    },
}


def found_models() -> Iterator[FoundModel]:
    """All that can be served as they lie. A broken or unreadable store costs itself only."""
    for tool in TOOLS.values():
        for one in tool.models():
            if isinstance(one, FoundModel):
                yield one


def unreadable_stores() -> tuple[Unreadable, ...]:
    """Those that exist and that this user may not read."""
    return tuple(
        unreadable
        for name, tool in TOOLS.items()
        for unreadable in unreadable_folders(TITLES[name], tool.folders())
    )


def found_by(reference: ElsewhereReference) -> tuple[FoundModel, ...]:
    """One model, or its quantizations. Raises ModelNotFound, StorageError where the store can't be
    read, and what keeps the model from being served."""
    there = [*TOOLS[reference.tool].models()]
    meant = [one for one in there if matches(one, reference)]
    if fit := tuple(one for one in meant if isinstance(one, FoundModel)):
        return fit
    for one in meant:
        if isinstance(one, Unservable):
            raise _told(reference, one.fault)
    raise _not_there(reference, there)


def check_servable(model: FoundModel, headers: Sequence[GGUFHeader]) -> None:
    """Raises BadGGUF for a form of GGUF that only its own tool loads."""
    if model.tool == ollama.TOOL:
        try:
            check_format(headers)
        except BadGGUF as fault:
            raise _told(model.reference, fault) from fault


def removal_of(reference: ElsewhereReference) -> str:
    return TOOLS[reference.tool].removal(reference.name)


def _told(reference: ElsewhereReference, fault: EdgellmError) -> EdgellmError:
    """With the model's name before it, where it has none."""
    told, name = str(fault), reference.text
    return type(fault)(told if name in told else f"{name}: {told}", hint=fault.hint)


def _not_there(
    reference: ElsewhereReference, there: Iterable[FoundModel | Unservable]
) -> EdgellmError:
    unreadable = unreadable_folders(reference.title, TOOLS[reference.tool].folders())
    if unreadable:
        return unreadable[0].error
    shown = [one.names[0] for one in there if isinstance(one, FoundModel)]
    near = difflib.get_close_matches(reference.name, shown, n=3, cutoff=0.4) or shown[:3]
    names = ", ".join(f"{reference.tool}:{name}" for name in near)
    hint = (
        f"it has {names}" if near else f"{reference.title} has no model here that llama.cpp loads"
    )
    return ModelNotFound(f"{reference.title} has no {reference.name}", hint=hint)
