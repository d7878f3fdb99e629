"""Which hub is asked: the one that a reference names, else the one that is set."""

from dataclasses import replace
from typing import TYPE_CHECKING

from edgellm.config import Config
from edgellm.models.names import HubReference

if TYPE_CHECKING:
    from edgellm.models.fetching.hub import Hub


def located(reference: HubReference, config: Config) -> HubReference:
    return replace(reference, hub=reference.hub or config.hub)


def hub_of(reference: HubReference, config: Config) -> "Hub":
    offline = True if config.offline else None
    if (reference.hub or config.hub) == "modelscope":
        from edgellm.models.fetching.modelscope import ModelScopeHub

        return ModelScopeHub(offline=offline)
    from edgellm.models.fetching.hub import HuggingFaceHub

    return HuggingFaceHub(offline=offline)
