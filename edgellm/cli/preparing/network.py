"""Is there a network that leads to the hub? Asked briefly, before a question that needs one."""

import os
import socket
from urllib.parse import urlsplit

_TIMEOUT_S = 2.0
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def hub_is_reachable() -> bool:
    """A connection, no request. Through a proxy nobody knows before the request itself."""
    from edgellm.models.fetching.hub import DEFAULT_ENDPOINT

    if any(os.environ.get(name) for name in _PROXIES):
        return True
    address = urlsplit(os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        with socket.create_connection((address.hostname or "", port), _TIMEOUT_S):
            return True
    except (OSError, UnicodeError):
        return False
