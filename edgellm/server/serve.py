"""uvicorn on a TCP or a unix socket, inside the caller's event loop, until somebody says stop.

SIGTERM, SIGINT and POST /edgellm/shutdown all mean: accept nothing new, let what runs finish
within the grace, then end it with an error event. A second signal means now. The caller starts
the engines before and stops them after.
"""

import asyncio
import contextlib
import errno
import ipaddress
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import uvicorn
from starlette.applications import Starlette

from edgellm.errors import AddressInUse, ConfigError
from edgellm.server.door.access import Access
from edgellm.server.door.certificate import Certificate
from edgellm.server.door.connections import Crowd, most_connections, protocol_for
from edgellm.server.door.patience import Patience
from edgellm.server.door.tls import greeting_for

# An idle connection's. Clients close theirs earlier, httpx after 5 s: were it as long, a request
# might meet the closing. Where there is no room for newcomers, the idle ones go at once.
_KEPT_ALIVE_S = 75
_UNREAD_MS = 60_000  # then the kernel hangs up on a client that takes no bytes
_TOLD_AFTER_S = 0.3  # who waits for the end hears why it doesn't come
_LAST_WORDS_S = 1.0  # for error events to clients that were cut off
_LOOK_AGAIN_S = 0.02


class Keeper(Protocol):
    """What the server needs of an application: its `app.state.gateway`."""

    @property
    def access(self) -> Access: ...
    @property
    def patience(self) -> Patience: ...
    @property
    def stopping(self) -> asyncio.Event: ...
    def refused(self, error: Exception) -> None: ...
    def listens_at(self, url: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Bind:
    """Where to listen. With a `unix_path` the other fields are ignored."""

    host: str = "127.0.0.1"
    port: int = 8484  # 0: any that is free
    unix_path: Path | None = None
    tls: Certificate | None = None  # None: plain HTTP

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach it."""
        if self.unix_path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def check_reach(bind: Bind, *, has_key: bool, insecure: bool) -> None:
    """Raises ConfigError for an address that others can reach, and that no key protects."""
    if not (bind.is_private or has_key or insecure):
        raise ConfigError(
            f"{bind.host} can be reached by others, and no API key is set",
            hint="set one by --api-key or EDGELLM_API_KEY, or listen on 127.0.0.1",
        )


async def serve(
    app: Starlette,
    bind: Bind | None = None,
    *,
    on_started: Callable[[str], None] = lambda url: None,
    on_closing: Callable[[], None] = lambda: None,
    on_waiting: Callable[[int], None] = lambda n_answers: None,
    grace_s: float = 30.0,
    insecure: bool = False,
    max_connections: int | None = None,
) -> None:
    """Returns when it has stopped. `on_started` gets the URL, with the port that it really has;
    `on_closing` is called before the port is free again; `on_waiting` a moment later, with how many
    answers are still running, if another signal would end these.

    Raises ConfigError for a bind that others could reach and no API key (unless `insecure`), or
    that this machine or user can't have; AddressInUse when somebody listens there.
    """
    bind = bind or Bind()
    gateway: Keeper = app.state.gateway
    check_reach(bind, has_key=bool(gateway.access.keys), insecure=insecure)
    most = max_connections or most_connections(0)
    crowd = Crowd(most, gateway.patience, gateway.refused)
    with _listening(bind) as (sock, url):
        gateway.listens_at(url)
        config = _config(app, crowd, None if bind.unix_path else bind.tls)
        server = _Server(config, gateway, lambda: on_started(url), on_closing, grace_s)
        server.on_waiting = on_waiting
        await server.serve(sockets=[sock])
        await server.wind_up()


def _config(app: Starlette, crowd: Crowd, tls: Certificate | None) -> uvicorn.Config:
    connection = protocol_for(crowd)  # by h11: httptools would buffer a header of any size
    behind_tls = greeting_for(connection, tls.context, crowd) if tls else None
    return uvicorn.Config(
        app,
        http=behind_tls or connection,  # type: ignore[arg-type]  # whatever makes one, will do
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEPT_ALIVE_S,
        timeout_graceful_shutdown=None,  # ours, below: uvicorn's takes whole seconds
    )


class _Server(uvicorn.Server):
    """uvicorn's, with our signals: its own would end the process before the engines are stopped."""

    def __init__(
        self,
        config: uvicorn.Config,
        gateway: Keeper,
        on_listening: Callable[[], None],
        on_closing: Callable[[], None],
        grace_s: float,
    ) -> None:
        super().__init__(config)
        self._gateway, self._grace_s = gateway, grace_s
        self._on_listening, self._on_closing = on_listening, on_closing
        self.on_waiting: Callable[[int], None] = lambda n_answers: None
        self._hears_signals = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._gateway.stopping.is_set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.stopping.set()
        self._on_closing()
        loop = asyncio.get_running_loop()
        grace = loop.call_later(self._grace_s, self._cut_off)
        telling = loop.call_later(_TOLD_AFTER_S, self._tell_of_waiting)
        await super().shutdown(sockets)
        telling.cancel()
        grace.cancel()

    def _tell_of_waiting(self) -> None:
        n_answers = len(self.server_state.tasks)
        if n_answers and self._hears_signals and not self.force_exit:
            self.on_waiting(n_answers)

    async def wind_up(self) -> None:
        if self.force_exit:  # then uvicorn leaves this out
            await self.lifespan.shutdown()
        if tasks := self.server_state.tasks:
            await asyncio.wait(tuple(tasks), timeout=_LAST_WORDS_S)
        with contextlib.suppress(TimeoutError):  # nobody would close what the loop leaves open
            async with asyncio.timeout(2 * _LAST_WORDS_S):
                while self.server_state.connections:  # noqa: ASYNC110  # uvicorn tells of no end
                    await asyncio.sleep(_LOOK_AGAIN_S)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's; somebody else's program runs us
            return
        loop, mine = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
        for number in mine:
            loop.add_signal_handler(number, self._on_signal)
        self._hears_signals = True
        try:
            yield
        finally:
            for number in mine:
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        if self._gateway.stopping.is_set():
            self._cut_off()
        self._gateway.stopping.set()

    def _cut_off(self) -> None:
        self.force_exit = True
        for task in tuple(self.server_state.tasks):
            task.cancel()
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._hang_up)

    def _hang_up(self) -> None:
        """On clients that don't read: the server's own closing would wait for them."""
        for connection in tuple(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()


@contextlib.contextmanager
def _listening(bind: Bind) -> Iterator[tuple[socket.socket, str]]:
    """A bound socket and the URL that reaches it."""
    if bind.unix_path:
        with _unix_socket(bind.unix_path) as sock:
            yield sock, f"unix://{bind.unix_path}"
        return
    with _tcp_socket(bind) as sock:
        host, port = sock.getsockname()[:2]
        scheme = "https" if bind.tls else "http"
        yield sock, f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _tcp_socket(bind: Bind) -> socket.socket:
    """Of a name that is both, its IPv4 address: so localhost is one place, for us and for those who
    look for us there."""
    try:
        found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"{bind.host} is no address of this machine") from error
    family, kind, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    # By its name: of a protocol that is left to the system asyncio doesn't know that it is TCP, and
    # leaves Nagle's algorithm on. Then what follows an answer's head waits for the client's delayed
    # acknowledgement, on Linux 40 ms.
    sock = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if option := getattr(socket, "TCP_USER_TIMEOUT", None):  # Linux's; inherited on accept
            sock.setsockopt(socket.IPPROTO_TCP, option, _UNREAD_MS)
        sock.bind(address)
        sock.listen()  # or a second server could bind as well, and fail only later
    except OSError as error:
        sock.close()
        raise _refused(error, bind) from error
    return sock


def _refused(error: OSError, bind: Bind) -> AddressInUse | ConfigError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(
            f"port {bind.port} on {bind.host} is taken",
            hint="--port chooses another, 0 any free one",
        )
    if error.errno == errno.EACCES:
        return ConfigError(
            f"port {bind.port} needs rights this user has not", hint="choose one above 1023"
        )
    return ConfigError(f"can't listen on {bind.host} port {bind.port}: {error.strerror}")


@contextlib.contextmanager
def _unix_socket(path: Path) -> Iterator[socket.socket]:
    """For this user only. A dead server's file is taken over, a live one's is not; nor is it
    removed, if the place was taken while we wound up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
                _remove_if_dead(path)
            sock.bind(str(path))
            path.chmod(0o600)
            sock.listen()
        except OSError as error:
            raise ConfigError(f"can't listen on {path}: {error.strerror or error}") from error
        ours = path.stat().st_ino
        try:
            yield sock
        finally:
            if path.exists() and path.stat().st_ino == ours:
                path.unlink()


def _remove_if_dead(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise AddressInUse(f"a server listens on {path}", hint="`edgellm ps` shows it")
