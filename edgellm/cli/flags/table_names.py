"""Which model a table's name means, whichever of the model's names it is.

A path, a repository, the catalog's name for it, what another tool calls it; of a file of one's own
also what `edgellm ps` calls it: its name without folder and ending.
"""

from pathlib import Path

from edgellm.errors import BadRequest, ModelNotFound
from edgellm.files import path_of
from edgellm.models.names import CatalogReference, HubReference, PathReference, parse_reference
from edgellm.values import frozen


@frozen
class Meant:
    """Without a `model` it is any file that is served as `stem`."""

    model: str
    quant: str = ""
    file: str = ""
    stem: str = ""

    def holds(self, other: "Meant") -> bool:
        if not self.model:
            return self.stem == other.stem
        return self.model == other.model and all(
            ours in ("", theirs)
            for ours, theirs in ((self.quant, other.quant), (self.file, other.file))
        )

    @property
    def nearness(self) -> tuple[bool, bool]:
        """Of two that hold a model the greater one is its."""
        return bool(self.model), (self.file, self.quant) != ("", "")


def meant_by(name: str) -> Meant:
    """Raises BadRequest, ModelNotFound."""
    match reference := parse_reference(name):
        case PathReference(path):
            from edgellm.models.local import model_name

            return Meant(_resolved(path), stem=model_name(Path(path)).casefold())
        case HubReference(repo=repo, quant=quant, file=file):
            return Meant(repo.casefold(), quant or "", file or "")
        case CatalogReference(name=known, quant=quant):
            return _in_catalog(name, known, quant or "")
    return Meant(reference.text.casefold().removesuffix(":latest"))


def _in_catalog(name: str, known: str, quant: str) -> Meant:
    from edgellm.models.known import catalog

    if known == "demo":
        return Meant(known)
    try:
        entry = catalog.find(known)
    except ModelNotFound:
        if ":" in name:  # which no file's name has
            raise
        return Meant("", stem=name.strip().casefold())
    return Meant((entry.repo or entry.name).casefold(), quant)


def _resolved(path: str) -> str:
    """Raises BadRequest."""
    try:
        return str(path_of(path).resolve())
    except (OSError, ValueError, RuntimeError) as error:  # a NUL; a loop of links
        raise BadRequest(f"no path can be so: {error}") from error
