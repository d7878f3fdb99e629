"""Where a server is. However that is written, it becomes one form, by which we connect and compare.

Two words for one place must not be told apart, or a server of ours is taken for a stranger; nor
may two places look like one, or a stranger gets our key. So the form is an address, never a name
that might mean two: localhost is 127.0.0.1, where a server that is told so listens.
"""

import ipaddress
import os
import re
from pathlib import Path

from edgellm.config import host_and_port, socket_path
from edgellm.errors import ConfigError

_PORT = 8484
_REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}


def url_of(text: str) -> str:
    """http://host:port, https://host:port or unix:///path, from what may be written for them: host,
    host:port, :port, [::1]:port, with or without a scheme, unix:/path, unix:~/path.

    Raises ConfigError.
    """
    text = text.strip()
    if path := socket_path(text):
        return f"unix://{Path(path).expanduser().absolute()}"
    scheme, has_scheme, _ = text.partition("://")
    scheme = scheme.lower() if has_scheme else "http"
    if scheme not in ("http", "https"):
        raise ConfigError(f"{text!r} is no address", hint="write it like http://127.0.0.1:8484")
    host, port = host_and_port(text)
    if port is None:
        port = 443 if scheme == "https" else _PORT
    reached = reached_at(host)
    return f"{scheme}://[{reached}]:{port}" if ":" in reached else f"{scheme}://{reached}:{port}"


def url_of_environment() -> str | None:
    """EDGELLM_HOST, as a URL. Raises ConfigError."""
    text = os.environ.get("EDGELLM_HOST", "").strip()
    return url_of(text) if text else None


def reached_at(host: str) -> str:
    """Where a server that listens there is reached from here: an IPv6 address in its shortest form,
    a name in small letters. Raises ConfigError."""
    name = host.casefold().removesuffix(".")
    try:
        name = str(ipaddress.ip_address(name))
    except ValueError:
        if not re.fullmatch(r"[\w.-]+", name):
            raise ConfigError(
                f"{host!r} is no address", hint="write it like 127.0.0.1:8484, or box:8484"
            ) from None
    return _REACHED_AT.get(name, name)
