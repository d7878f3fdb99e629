"""Is there a network that leads to the hub? Asked briefly, before a question that needs one."""

import os
import socket

_TIMEOUT_S = 2.0
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def hub_is_reachable() -> bool:
    """A connection, no request. Through a proxy nobody knows before the request itself."""
    from edgellm.errors import ConfigError
    from edgellm.models.fetching.hub import DEFAULT_ENDPOINT, address_of

    if any(os.environ.get(name) for name in _PROXIES):
        return True
    try:
        address = address_of(os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT)
        with socket.create_connection(address, _TIMEOUT_S):
            return True
    except (ConfigError, OSError, UnicodeError):
        return False
