"""A model that is here, held against its repository as it is now. Only `pull` asks for that:
whoever serves or plans takes what is here."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgellm.cli.preparing.hubs import hub_of
from edgellm.cli.preparing.resolve import fetch_files
from edgellm.cli.preparing.store import store_of
from edgellm.config import Config
from edgellm.models.names import HubReference

if TYPE_CHECKING:
    from edgellm.models.fetching.download import Progress

Renew = Callable[["Progress"], Path]


def newer(path: Path, reference: HubReference, config: Config) -> Renew | None:
    """Brings what the hub has in place of the model at `path`; None: it has this very model.

    Raises NetworkError, Offline, ConfigError when the environment names no way to the hub,
    ModelNotFound when the hub has it no more, BadRequest when it may be one of several now.
    """
    hub = hub_of(reference, config)
    repository = hub.list_files(reference.repo, reference.revision)
    model = store_of(config).newer(repository, path)
    if model is None:
        return None
    projector = repository.listing.projector(model.files[0].path)

    def renew(progress: "Progress") -> Path:
        return fetch_files(hub, repository, model, config, progress, projector)

    return renew


def is_pinned(reference: HubReference) -> bool:
    """To a commit, which never changes."""
    from edgellm.models.fetching.cache_layout import is_commit

    return is_commit(reference.revision)
