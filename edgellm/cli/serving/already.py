"""A server of this user's in the very place where another is asked to listen."""

from edgellm.cli.flags.addresses import hears, url_of
from edgellm.cli.preparing.precheck import check_address
from edgellm.cli.serving import state
from edgellm.cli.serving.client import Client
from edgellm.cli.serving.find import host_flag
from edgellm.config import Config, socket_path
from edgellm.errors import AddressInUse, EdgellmError
from edgellm.tui.drawn.untrusted import clean

_PATIENCE_S = 2.0
_ANOTHER_PORT = "--port chooses another, 0 any free one"
_ANOTHER_SOCKET = "--unix-socket chooses another"


class AlreadyServing(AddressInUse):
    def __init__(self, message: str, url: str) -> None:
        other = _ANOTHER_SOCKET if socket_path(url) else _ANOTHER_PORT
        where = host_flag(url)
        watched = f"`edgellm top{where}` watches it, `edgellm stop{where}` ends it"
        super().__init__(message, hint=f"{watched}; {other}")
        self.url = url


def check_place(config: Config, *, insecure: bool) -> None:
    """Raises AlreadyServing, and as check_address does."""
    place = f"unix:{config.unix_socket}" if config.unix_socket else _tcp(config)
    for server in state.running():
        if hears(_plain(server.url), place):
            url = url_of(server.url)
            there = f"{_occupation(url)} at {url} already (pid {server.pid})"
            raise AlreadyServing(there, url)
    check_address(config, insecure=insecure)


def _tcp(config: Config) -> str:
    return f"http://[{config.host}]:{config.port}"


def _plain(url: str) -> str:
    """A port is taken whatever is spoken there."""
    return url.replace("https://", "http://", 1)


def _occupation(url: str) -> str:
    """ "qwen3:8b is served", as far as it tells: it may hang, or want another key."""
    try:
        with Client(url, patience_s=_PATIENCE_S) as client:
            models = clean(client.status()).models
    except EdgellmError:
        return "a server of yours listens"
    names = " and ".join(model.name for model in models)
    return f"{names or 'a model'} is served"
