"""What requests may name beyond this server: folders, hosts, downloads (`reach_of(request)`)."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from starlette.requests import Request

from edgellm.server.routes.image_hosts import ImageHosts


class Pulling(Protocol):
    """Downloads a model and has it served."""

    def pull(self, name: str) -> AsyncGenerator[tuple[int, int], None]:
        """Yields how many bytes are here, and of how many. Raises EdgellmError."""
        ...


class Removing(Protocol):
    """Removes a model from this disk."""

    async def remove(self, name: str) -> None:
        """From then on it isn't served. Raises EdgellmError."""
        ...


@dataclass(frozen=True, slots=True)
class Reach:
    lora_dir: Path | None = None  # adapters in here may be loaded; None: none may
    image_hosts: ImageHosts = field(default_factory=ImageHosts)
    pulling: Pulling | None = None  # None: no request downloads a model
    removing: Removing | None = None  # None: none removes one


def reach_of(request: Request) -> Reach:
    reach: Reach = request.app.state.reach
    return reach
