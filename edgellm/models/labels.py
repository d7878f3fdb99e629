"""How a repository's models are called in a list that people choose from."""

from collections import Counter
from collections.abc import Sequence

from edgellm.models.hubs import HubName, address_of
from edgellm.models.names import NO_LABEL


def distinct_labels(models: Sequence[tuple[str, str]]) -> list[str]:
    """A distinct name for each (quant, file): the label, or the file where the label is missing or
    another has it, too."""
    n_labelled = Counter(quant for quant, _ in models)
    return [
        quant if quant != NO_LABEL and n_labelled[quant] == 1 else file for quant, file in models
    ]


def listed_name(repo: str, quant: str, first_file: str, hub: HubName | None = None) -> str:
    """What `edgellm list` calls a model: by its file where it has no label that one could type."""
    return address_of(repo, hub) + (f"/{first_file}" if quant == NO_LABEL else f":{quant}")
