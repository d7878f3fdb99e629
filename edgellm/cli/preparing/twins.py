"""What is to be downloaded, or can't be, and another tool has here: by its name or its repository.

It is told, and never taken instead: it may be another quantization, or an older one.
"""

import contextlib
import shlex
from typing import Final

from edgellm.errors import BadRequest, EdgellmError, ModelNotFound
from edgellm.models import local
from edgellm.models.elsewhere.found import FoundModel
from edgellm.models.names import CatalogReference, HubReference, Reference, parse_reference

_HUGGING_FACE: Final = ("hf.co/", "huggingface.co/")


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
        case CatalogReference(name=name):
            from edgellm.models.known import catalog

            try:
                entry = catalog.find(name)
            except ModelNotFound:  # a user's own, perhaps
                return {name}
            return {entry.name.lower(), (entry.repo or name).lower()}
        case HubReference(repo=repo):
            return {repo.lower()}
    return set()


def _names_of_found(model: FoundModel) -> set[str]:
    """Of Ollama's without the quantization that a tag may end in. What is in its registry is by
    other people than what is on a hub under the same name."""
    if model.tool != "ollama":
        return {model.group.lower()}
    name = model.names[0].lower()
    with contextlib.suppress(BadRequest):
        match parse_reference(name):
            case CatalogReference(name=name):
                return {name}
            case HubReference(repo=repo) if name.startswith(_HUGGING_FACE):
                return {repo.lower()}
    return set()
