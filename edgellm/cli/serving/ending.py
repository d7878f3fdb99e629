"""Servers are told to end, and waited for."""

import contextlib
import socket
import time
from dataclasses import dataclass

import psutil

from edgellm.cli.flags.addresses import hears, place_of, url_of
from edgellm.cli.serving import state
from edgellm.cli.serving.client import Client
from edgellm.cli.serving.find import Found, Silent
from edgellm.config import host_and_port, socket_path
from edgellm.errors import EdgellmError, NotServing
from edgellm.status import Status

_LOOK_S = 0.05
_KNOCK_S = 1.0


@dataclass(frozen=True, slots=True)
class _Leaving:
    """A server that is told to end, or winds up already. `workers` are its models' processes as far
    as they are known."""

    url: str
    pid: int
    workers: tuple[psutil.Process, ...] = ()
    is_named: bool = False

    def is_gone_by(self, deadline_s: float) -> bool:
        """`deadline_s` is time.monotonic's."""
        while not self.is_gone():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(_LOOK_S)
        return True

    def is_gone(self) -> bool:
        """None of its signs is left: its file, its open place, its models' processes. Not all can
        be seen of every server."""
        return not (self._files() or self._is_heard() or any(_lives(one) for one in self.workers))

    def winds_up(self) -> bool:
        """By itself, since it was found, or it is gone. One that was named and has no file here may
        be another machine's."""
        files = self._files()
        return all(one.is_stopping for one in files) if files else not self.is_named

    def _files(self) -> list[state.Running]:
        return [one for one in state.alive() if one.pid == self.pid and hears(one.url, self.url)]

    def _is_heard(self) -> bool:
        """Its file couldn't be written, or lies elsewhere. On another machine nobody listens at the
        end, whichever process has that number here; behind a proxy nothing can be seen."""
        place = place_of(self.url)
        is_proxy = url_of(self.url) != place or place.startswith("https:")
        return not is_proxy and _exists(self.pid) and _is_open(place)


def end_all(found: Found, wait_s: float) -> tuple[tuple[str, ...], tuple[Silent, ...]]:
    """Of those that answer and those that wind up already, the URLs that have ended (without a
    wait: that were told to), and those that go on. All are told before one is waited for: they
    wind up beside one another."""
    told = [_Leaving(server.url, server.pid) for server in found.stopping]
    left = list[Silent]()
    for url, status in found.answering:
        this = _Leaving(url, status.pid, _workers(status), found.is_named)
        try:
            _tell(url)
            told.append(this)
        except EdgellmError as error:
            if this.winds_up():
                told.append(this)
            else:
                left.append(Silent(url, status.pid, error))
    deadline_s = time.monotonic() + wait_s
    ended = list[str]()
    for this in told:
        if not wait_s or this.is_gone_by(deadline_s):
            ended.append(this.url)
        else:
            late = NotServing(f"{this.url} is still ending after {wait_s:g} s")
            left.append(Silent(this.url, this.pid, late))
    return tuple(ended), tuple(left)


def _workers(status: Status) -> tuple[psutil.Process, ...]:
    """Those that are children of this server's process here: elsewhere the numbers are others'."""
    found = []
    for pid in (model.pid for model in status.models if model.pid):
        with contextlib.suppress(psutil.Error, OverflowError, ValueError):
            process = psutil.Process(pid)
            if process.ppid() == status.pid:
                found.append(process)
    return tuple(found)


def _tell(url: str) -> None:
    with Client(url) as client:
        client.shutdown()


def _lives(worker: psutil.Process) -> bool:
    try:
        return bool(worker.is_running()) and worker.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _exists(pid: int) -> bool:
    try:
        return bool(psutil.pid_exists(pid))
    except OverflowError:  # it is what a server told
        return False


def _is_open(place: str) -> bool:
    """Whether somebody listens there. Who doesn't answer the knock is not known to be gone."""
    try:
        if path := socket_path(place):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(_KNOCK_S)
                sock.connect(path)
        else:
            socket.create_connection(host_and_port(place), _KNOCK_S).close()
    except TimeoutError:
        return True
    except OSError:
        return False
    return True
