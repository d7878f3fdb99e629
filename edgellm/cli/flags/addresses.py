"""Where a server is. However that is written, it becomes one form to ask it by, and one to compare.

Two words for one place must not be told apart, or a server of ours is taken for a stranger; nor
may two places look like one, or a stranger gets our key. So what is compared is an address, never a
name that might mean two: localhost is 127.0.0.1, where a server that is told so listens.
"""

import ipaddress
import os
import re
import socket

import psutil

from edgellm.config import host_and_port, socket_path
from edgellm.errors import ConfigError
from edgellm.files import path_of

_PORT = 8484
_PORT_OF_A_PROXY = {"http": 80, "https": 443}
_REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}
_HINT = "write it like 127.0.0.1:8484, or http://box:8484"


def url_of(text: str) -> str:
    """Where it is asked: http://host:port, https://host:port or unix:///path, from what may be
    written for them: host, host:port, :port, [::1]:port, with or without a scheme, unix:/path,
    unix:~/path. A path below a host stays: who names one, or https without a port, names a proxy,
    which has its scheme's. With https the name stays, too: certificates are made for names.

    Raises ConfigError.
    """
    if place := _socket_of(text):
        return place
    scheme, host, port, path = _parts(text)
    name = _plain(host)
    keeps_name = scheme == "https" and not is_everywhere(name)
    return url_at(scheme, name if keeps_name else reached_at(name), port) + path


def place_of(text: str) -> str:
    """The same for every spelling of one place, to compare by. Raises ConfigError."""
    if place := _socket_of(text):
        return place
    scheme, host, port, _ = _parts(text)
    return url_at(scheme, reached_at(host), port)


def hears(server_url: str, url: str) -> bool:
    """Whether `url` leads to the server that says it listens at `server_url`: the same place, or
    another address of this machine for one that listens everywhere. Raises ConfigError."""
    if place_of(server_url) == place_of(url):
        return True
    if socket_path(server_url) or _socket_of(url):
        return False
    everywhere, port = host_and_port(server_url)
    scheme, host, asked_port, _ = _parts(url)
    speaks = server_url.partition("://")[0]
    return scheme == speaks and asked_port == port and _hears(everywhere, reached_at(host))


def url_of_environment() -> str | None:
    """EDGELLM_HOST, as a URL. Raises ConfigError."""
    text = os.environ.get("EDGELLM_HOST", "").strip()
    return url_of(text) if text else None


def named_url(host: str | None) -> str | None:
    """The server that is named: by a command's --host, else by EDGELLM_HOST. Raises ConfigError."""
    return url_of(host) if host else url_of_environment()


def reached_at(host: str) -> str:
    """Where a server that listens there is reached from here: an IPv6 address in its shortest form,
    a name in small letters. Raises ConfigError."""
    name = _plain(host)
    return _REACHED_AT.get(name, name)


def seen_from_outside(host: str) -> str | None:
    """This machine's address for others, of the family of `host`; None without a network. Nothing
    is sent: the system is asked only from which address it would send."""
    family, anywhere = (
        (socket.AF_INET6, "2001:db8::1") if ":" in host else (socket.AF_INET, "192.0.2.1")
    )  # RFC 3849, RFC 5737: nobody's
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((anywhere, 9))
            address = str(sock.getsockname()[0])
    except OSError:
        return None
    return None if ipaddress.ip_address(address).is_loopback else address


def is_everywhere(host: str) -> bool:
    """A server that listens there hears whoever reaches the machine."""
    return host in ("0.0.0.0", "::")


def _hears(everywhere: str, host: str) -> bool:
    """`::` hears IPv4, too; the names of this machine's addresses are not asked for."""
    families = {"0.0.0.0": (socket.AF_INET,), "::": (socket.AF_INET, socket.AF_INET6)}
    heard = families.get(everywhere, ())
    return bool(heard) and any(
        one.family in heard and one.address.partition("%")[0] == host
        for addresses in psutil.net_if_addrs().values()
        for one in addresses
    )


def _socket_of(text: str) -> str | None:
    path = socket_path(text.strip())
    return f"unix://{path_of(path).absolute()}" if path else None


def _parts(text: str) -> tuple[str, str, int, str]:
    """Scheme, host, port, and a path that is empty or begins with a slash."""
    text = text.strip()
    scheme, has_scheme, rest = text.partition("://")
    scheme, rest = (scheme.lower(), rest) if has_scheme else ("http", text)
    path = "".join(rest.partition("/")[1:]).rstrip("/")
    if scheme not in _PORT_OF_A_PROXY or re.search(r"[\s?#]", path):
        raise ConfigError(f"{text!r} is no address", hint=_HINT)
    host, port = host_and_port(text)
    if port is None:
        port = _PORT_OF_A_PROXY[scheme] if path or scheme == "https" else _PORT
    return scheme, host, port, path


def _plain(host: str) -> str:
    name = host.casefold().removesuffix(".")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        if not re.fullmatch(r"[\w.-]+", name):
            raise ConfigError(f"{host!r} is no address", hint=_HINT) from None
    return name


def url_at(scheme: str, host: str, port: int | None) -> str:
    """An IPv6 address in brackets."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
