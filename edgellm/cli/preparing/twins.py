"""What is to be downloaded, or can't be, and another tool has here: by its name or its repository.

It is told, and never taken instead: it may be another quantization, or an older one.
"""

import contextlib
import shlex

from edgellm.errors import EdgellmError
from edgellm.models import local
from edgellm.models.elsewhere.found import FoundModel
from edgellm.models.names import CatalogReference, HubReference, Reference, parse_reference


def twin(name: str) -> str | None:
    """ "Ollama has it here, as Q4_K_M: edgellm serve ollama:qwen3:8b". None: nobody has."""
    from edgellm.models.elsewhere.tools import found_models

    with contextlib.suppress(EdgellmError, OSError):
        wanted = _names_of(parse_reference(name))
        for model in found_models():
            if wanted & _names_of_found(model):
                title, quant = model.reference.title, local.read_spec(model.path).quant
                return f"{title} has it here, as {quant}: edgellm serve {shlex.quote(model.name)}"
    return None


def _names_of(reference: Reference) -> set[str]:
    """What it is called in Ollama's library, which the catalog's names follow, and on a hub."""
    match reference:
        case CatalogReference():
            from edgellm.models.known import catalog

            entry = catalog.find(reference.name)
            return {entry.name.lower(), (entry.repo or entry.name).lower()}
        case HubReference(repo=repo):
            return {repo.lower()}
    return set()


def _names_of_found(model: FoundModel) -> set[str]:
    """Without the quantization that an Ollama tag may end in; "latest" is nobody's size."""
    names = {model.group.lower()}
    with contextlib.suppress(EdgellmError):
        match parse_reference(model.names[0]):
            case CatalogReference(name=name) if ":" in name:
                names.add(name)
            case HubReference(repo=repo):
                names.add(repo.lower())
    return names
