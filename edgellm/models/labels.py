"""What tells a repository's models apart, where people are to choose."""

from collections import Counter
from collections.abc import Sequence

from edgellm.models.hubs import HubName, address_of
from edgellm.models.names import NO_LABEL


def told_apart(models: Sequence[tuple[str, str]]) -> list[str]:
    """Each (quant, file) by its label; by its file, where it has none or shares it with another."""
    n_labelled = Counter(quant for quant, _ in models)
    return [
        quant if quant != NO_LABEL and n_labelled[quant] == 1 else file for quant, file in models
    ]


def listed_name(repo: str, quant: str, first_file: str, hub: HubName | None = None) -> str:
    """What `edgellm list` calls a model. NO_LABEL is no tag that anybody could type."""
    return address_of(repo, hub) + (f"/{first_file}" if quant == NO_LABEL else f":{quant}")
