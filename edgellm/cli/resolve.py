"""From the name that a user typed to candidates that the selector can choose from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgellm.config import Config
from edgellm.models import local
from edgellm.models.names import PathReference, parse_reference
from edgellm.selector.plan import Candidate, Plan


@dataclass(frozen=True, slots=True)
class Resolved:
    """`fetch` brings the plan's file to this disk, if it isn't there, and says where it lies."""

    name: str
    candidates: tuple[Candidate, ...]
    fetch: Callable[[Plan], Path]


def resolve(text: str, config: Config) -> Resolved:
    """Raises BadRequest, ModelNotFound, BadGGUF, NetworkError, StorageError."""
    match parse_reference(text):
        case PathReference(path):
            return on_disk(Path(path).expanduser())
        case other:
            raise ValueError(other)


def on_disk(path: Path, name: str | None = None) -> Resolved:
    """A file is served where it lies."""
    spec = local.read_spec(path)
    local.check(path)
    candidate = Candidate(
        name=name or local.model_name(path),
        file=str(path),
        quant=spec.quant,
        spec=spec,
        file_bytes=spec.file_bytes,
        source=str(path.parent),
    )
    return Resolved(candidate.name, (candidate,), lambda _: path)
