"""Files of KV cells in one folder, written and read beside the worker's loop.

    FOLDER/key                 this user's secret, readable by nobody else
    FOLDER/<model>/<name>.kv   see prefix_file.py; <model> is from the fingerprint, <name> the key
    FOLDER/<model>/<name>.PID  being written, or left by a writer that was killed

A file appears whole or not at all: it is written under another name and renamed. It isn't synced:
if a power cut leaves it half-written, its mac is wrong. What can't be written, read or trusted is
left out and erased, and its tokens are computed again.

Nobody waits for writing, so that thread is nicer than the loop's. Still, a large file keeps a core
busy for several steps, and `n_computing` says so, so that the loop can leave it one. For what takes
less than a step that would cost more than sharing a core.
"""

import contextlib
import hashlib
import os
import re
import secrets
import stat
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from edgellm.runner.kv.prefix_file import HEAD_BYTES, MAC_BYTES, Broken, Seal, Stored
from edgellm.runner.threads.one_thread import yield_to_the_loop

_SECRET_BYTES = 32
_READ, _WRITE = stat.S_IRGRP | stat.S_IROTH, stat.S_IWGRP | stat.S_IWOTH  # by others
_LONG_BYTES = 64 << 20  # writing or checking so much takes 50 ms of CPU time: a few steps
_MOST_PENDING_BYTES = 1 << 30  # in memory until it is written; see `store`
_OURS = re.compile("[0-9a-f]{32}/[0-9a-f]{64}[.](kv|[0-9]+)")
_PART_OF_OTHERS = 0.5  # of the room, for files of other models

OnFetched = Callable[[int, bytearray | None, float], None]  # blob, its bytes, seconds


class PrefixDisk:
    """Raises OSError when the folder can't be made, or isn't ours alone to write."""

    def __init__(
        self,
        folder: Path,
        room_bytes: int,
        fingerprint: bytes,
        *,
        most_pending_bytes: int = _MOST_PENDING_BYTES,
        long_bytes: int = _LONG_BYTES,
    ) -> None:
        self._folder = folder / hashlib.sha256(fingerprint).hexdigest()[:32]
        for one in (folder, self._folder):
            one.mkdir(parents=True, exist_ok=True, mode=0o700)
            _check_ours(one, one.stat(), _WRITE)
        self._seal = Seal(_secret(folder), fingerprint)
        others_bytes = _trim_others(folder, self._folder, int(room_bytes * _PART_OF_OTHERS))
        self.room_bytes = room_bytes - others_bytes
        self._writers = ThreadPoolExecutor(1, initializer=yield_to_the_loop)
        self._readers = ThreadPoolExecutor(1)
        self._most_pending_bytes, self._long_bytes = most_pending_bytes, long_bytes
        self._lock, self._pending_bytes, self._checking_bytes = Lock(), 0, 0
        self._n_fetching = 0
        self._pending: Counter[bytes] = Counter()  # keys of what is to be written

    @property
    def n_computing(self) -> int:
        """How many of its two threads have work that lasts for several steps."""
        sizes = (self._pending_bytes, self._checking_bytes)
        return sum(n_bytes >= self._long_bytes for n_bytes in sizes)

    @property
    def is_busy(self) -> bool:
        """Something is still to be written, or to be read and told."""
        return bool(self._pending_bytes or self._n_fetching)

    def scan(self) -> tuple[Stored, ...]:
        """The files that are there, least recently used first. Others are erased."""
        found: list[tuple[float, Stored]] = []
        for path in self._folder.iterdir():
            try:
                with path.open("rb") as file:
                    stored = self._head(file.read(HEAD_BYTES), file.read)
                    whole_bytes = file.tell() + stored.n_bytes + MAC_BYTES
                whole = path.stat()
                if path != self._path(stored.key) or whole.st_size != whole_bytes:
                    raise Broken("it was cut short, or renamed")
                found.append((whole.st_mtime, stored))
            except (OSError, Broken):
                with contextlib.suppress(OSError):
                    path.unlink()
        return tuple(stored for _, stored in sorted(found, key=lambda one: one[0]))

    def store(self, stored: Stored, payload: memoryview) -> None:
        """Write it, unless too much is waiting to be written already. Then fetching it will fail,
        as for any file that can't be read, and it is computed again. If nothing else waits, a file
        of any size is written."""
        with self._lock:
            pending_bytes = self._pending_bytes
            if pending_bytes and pending_bytes + payload.nbytes > self._most_pending_bytes:
                return
            self._pending_bytes += payload.nbytes
            self._pending[stored.key] += 1
        self._writers.submit(self._store, stored, payload)

    def fetch(self, number: int, key: bytes, done: OnFetched) -> None:
        """`done` is called from another thread. A file that is still to be written is read after
        that."""
        with self._lock:
            pool = self._writers if self._pending[key] else self._readers
            self._n_fetching += 1
        pool.submit(self._fetch, number, key, done)

    def erase(self, key: bytes) -> None:
        """After what is still to be written."""
        self._writers.submit(self._erase, key)

    def close(self) -> None:
        """All that was to be written is."""
        self._writers.shutdown()
        self._readers.shutdown()

    def _store(self, stored: Stored, payload: memoryview) -> None:
        path = self._path(stored.key)
        draft = path.with_suffix(f".{os.getpid()}")
        try:
            head = self._seal.head(stored)
            with draft.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(head)
                file.write(payload)
                file.write(self._seal.tail(head, payload))
            draft.replace(path)
        except OSError:  # a full disk: nobody will find the file, so it is computed again
            with contextlib.suppress(OSError):
                draft.unlink()
        finally:
            with self._lock:
                self._pending_bytes -= payload.nbytes
                self._pending -= Counter((stored.key,))

    def _fetch(self, number: int, key: bytes, done: OnFetched) -> None:
        begun_s = time.monotonic()
        blob: bytearray | None = None
        # Whatever it is, even a lack of memory: requests wait to be told.
        with contextlib.suppress(Exception):
            blob = self._read(key)
        done(number, blob, time.monotonic() - begun_s)
        with self._lock:
            self._n_fetching -= 1

    def _read(self, key: bytes) -> bytearray:
        path = self._path(key)
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            stored = self._head(head, file.read)
            if stored.key != key:
                raise Broken("it is of other tokens")
            blob = bytearray(stored.n_bytes)
            file.readinto(blob)
            self._check(head, blob, file.read(MAC_BYTES + 1))
        os.utime(path)
        return blob

    def _check(self, head: bytes, blob: bytearray, mac: bytes) -> None:
        """Raises Broken."""
        with self._lock:
            self._checking_bytes += len(blob)
        try:
            self._seal.check_payload(head, memoryview(blob), mac)
        finally:
            with self._lock:
                self._checking_bytes -= len(blob)

    def _head(self, head: bytes, read: Callable[[int], bytes]) -> Stored:
        return self._seal.read_header(head, read(self._seal.header_bytes(head)))

    def _erase(self, key: bytes) -> None:
        with contextlib.suppress(OSError):
            self._path(key).unlink()

    def _path(self, key: bytes) -> Path:
        return self._folder / f"{key.hex()}.kv"


def _secret(folder: Path) -> bytes:
    """Read it, or make it the first time. If two workers make one at the same time, the first
    counts.

    Raises OSError, also if it was cut short or others can read it: then it is no secret.
    """
    path = folder / "key"
    if not os.path.lexists(path):
        _make_secret(path)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        _check_ours(path, os.fstat(file.fileno()), _READ | _WRITE)
        secret = file.read()
    if len(secret) != _SECRET_BYTES:
        raise OSError(f"{path} has {len(secret)} bytes, {_SECRET_BYTES} are wanted: delete it")
    return secret


def _make_secret(path: Path) -> None:
    draft = path.with_name(f"key.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(draft, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _check_ours(path: Path, found: os.stat_result, forbidden: int) -> None:
    """Raises OSError if somebody else could write there, and so pass off their cells as ours."""
    if found.st_uid != os.geteuid():
        raise OSError(f"{path} belongs to the user {found.st_uid}, not to {os.geteuid()}")
    if found.st_mode & forbidden:
        verbs, change = ("read or write", "go=") if forbidden & _READ else ("write in", "go-w")
        mode = f"mode {stat.S_IMODE(found.st_mode):04o}"
        raise OSError(f"others may {verbs} {path} ({mode}): `chmod {change} {path}` forbids it")


def _trim_others(folder: Path, own: Path, room_bytes: int) -> int:
    """Erase the oldest files of other models until they fit. Returns the bytes that stay.

    Only files that are surely ours: the folder may hold other things.
    """
    files = []
    for path in folder.glob("*/*"):
        if path.parent != own and _OURS.fullmatch(f"{path.parent.name}/{path.name}"):
            with contextlib.suppress(FileNotFoundError):  # another worker has just erased it
                found = path.stat()
                files.append((found.st_mtime, found.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= room_bytes:
            break
        path.unlink(missing_ok=True)
        total -= size
    return total
