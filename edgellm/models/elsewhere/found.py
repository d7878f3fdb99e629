"""A model of another tool's store, as far as it is known without a look into its file."""

from pathlib import Path

from edgellm.errors import EdgellmError
from edgellm.models.elsewhere.reference import ElsewhereReference
from edgellm.values import frozen


@frozen
class FoundModel:
    tool: str
    names: tuple[str, ...]  # what it may be called there, the one that is shown first
    path: Path  # of its first file
    size_bytes: int
    modified_at_s: float
    group: str  # the same for all quantizations of one model
    quant: str | None = None  # where a name tells it
    projector: Path | None = None

    @property
    def name(self) -> str:
        """As `list` shows it and every command takes it."""
        return self.reference.text

    @property
    def reference(self) -> ElsewhereReference:
        return ElsewhereReference(self.tool, self.names[0])


@frozen
class Unservable:
    """What the tool has, and llama.cpp can't load as it lies there: `fault` says why."""

    tool: str
    names: tuple[str, ...]
    fault: EdgellmError


def matches(one: FoundModel | Unservable, reference: ElsewhereReference) -> bool:
    """As Ollama does, capitals or not (types/model/name.go, EqualFold)."""
    wanted = reference.name.casefold()
    return one.tool == reference.tool and any(name.casefold() == wanted for name in one.names)
