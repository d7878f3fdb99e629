"""A model that a client has removed from this disk, and that is served no more."""

import asyncio
from collections.abc import Awaitable, Callable

from edgellm.cli.preparing.resolve import hub_reference_of
from edgellm.cli.preparing.store import store_of
from edgellm.config import Config
from edgellm.models.names import parse_reference


class Remover:
    """`refresh` ends the serving of what has gone."""

    def __init__(self, config: Config, refresh: Callable[[], Awaitable[None]]) -> None:
        self._config, self._refresh = config, refresh

    async def remove(self, name: str) -> None:
        """As `edgellm rm`. Raises BadRequest for another tool's, ModelNotFound, StorageError."""
        reference = hub_reference_of(parse_reference(name))
        await asyncio.to_thread(store_of(self._config).remove, reference)
        await self._refresh()
