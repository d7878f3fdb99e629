"""Is there a network that leads to the hub? Asked briefly, before a question that needs one."""

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgellm.models.hubs import HubName

_TIMEOUT_S = 2.0
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def hub_is_reachable(hub: "HubName" = "huggingface") -> bool:
    """A connection, no request. Through a proxy nobody knows before the request itself."""
    from edgellm.errors import ConfigError
    from edgellm.models.hubs import endpoint_of, server_of

    if any(os.environ.get(name) for name in _PROXIES):
        return True
    try:
        address = server_of(*endpoint_of(hub, os.environ))
        with socket.create_connection(address, _TIMEOUT_S):
            return True
    except (ConfigError, OSError, UnicodeError):
        return False
