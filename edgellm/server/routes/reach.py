"""What of the world outside a request may name: `reach_of(request)`."""

from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request

from edgellm.server.routes.image_hosts import ImageHosts


@dataclass(frozen=True, slots=True)
class Reach:
    lora_dir: Path | None = None  # adapters in here may be loaded; None: none may
    image_hosts: ImageHosts = field(default_factory=ImageHosts)


def reach_of(request: Request) -> Reach:
    reach: Reach = request.app.state.reach
    return reach
