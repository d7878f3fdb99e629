"""Conversations on disk that are of use only at their end: with a window, a recurrent state. Pure.

Such a state can't be put together from pieces, as shelf.py does with cells. A file holds all that a
sequence held after so many tokens, and only a prompt that goes on from all of them can use it. The
file's key names the tokens (prefix_file.py), and the file is found by them: no token is kept here.

Blobs that are being written are not counted here: until they are on disk they are in memory, beside
the budget for blobs (prefix_disk.py bounds them). Blobs that are read back are counted in the
budget of the memory that asked for them (`hold`, `let_go`), until they are a sequence's.

The folder is bounded. A longer file of a conversation replaces the shorter ones, and what is worth
least goes first:

    tokens to compute again without it ÷ its bytes ÷ for how long nobody has used it
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from edgellm.runner.batch import Discard, Erase, Fetch, Op, Store
from edgellm.runner.kv.memory import WORTH_SHARING, Limits
from edgellm.runner.kv.prefix_file import Stored, chain_key, prefix_names
from edgellm.runner.kv.whole_file import WholeFile
from edgellm.runner.sequence import Sequence

_MAX_FILES = 8192  # bounds the search for the one worth least


class Archive:
    def __init__(
        self,
        limits: Limits,
        ops: list[Op],
        *,
        new_blob: Callable[[], int],
        hold: Callable[[int], bool],
        let_go: Callable[[int], None],
    ) -> None:
        self.room_bytes = limits.disk_bytes
        self.used_bytes = 0
        self._ops, self._new_blob, self._hold, self._let_go = ops, new_blob, hold, let_go
        self._files: dict[bytes, WholeFile] = {}  # by name
        self._lengths: Counter[int] = Counter()
        self._by_blob: dict[int, WholeFile] = {}  # those that are being read, or are in memory
        self._waiting: list[Sequence] = []  # those that wait for a file
        self._furthest: dict[Sequence, WholeFile | None] = {}  # until any file comes or goes
        self._now = 0
        self._adopt(limits.stored)

    # ── to disk ──────────────────────────────────────────────────────────────

    def has(self, tokens: list[int]) -> bool:
        return chain_key(b"", tokens) in self._files

    def put(self, tokens: list[int], blob: int, n_bytes: int, *, spared: int = 0) -> None:
        """Write a blob of at most `n_bytes`, which holds all that a sequence held after `tokens`.

        It replaces the files of fewer of these tokens, except those of `spared` or fewer.
        """
        name = chain_key(b"", tokens)
        if name in self._files:
            self._touch(self._files[name])
            return
        if n_bytes > self.room_bytes:
            return
        for file in list(self._along(tokens)):
            if file.length > spared and not file.is_in_use:
                self._drop(file)
        if self._make_room(n_bytes):
            stored = Stored(chain_key(name, ()), name, len(tokens), (), n_bytes)
            self._add(stored)
            self._ops.append(Store(blob, stored))

    # ── and back ─────────────────────────────────────────────────────────────

    def find(self, sequence: Sequence, n_here: int) -> WholeFile | None:
        """The file that goes furthest along its prompt, if far beyond `n_here` tokens."""
        is_plain = sequence.params.cache_prompt and not sequence.pictures and not sequence.adapters
        if not is_plain or not self._files:
            return None
        if sequence not in self._furthest:  # kept, as this is asked in every step that it waits
            self._furthest[sequence] = self._look_up(sequence)
        file = self._furthest[sequence]
        return file if file and file.length - n_here >= WORTH_SHARING else None

    def must_fetch(self, sequence: Sequence, n_here: int) -> bool:
        """Whether it must wait for a read from disk, which this starts if need be."""
        if sequence.fetching_whole:
            return sequence.awaits_disk
        file = self.find(sequence, n_here)
        if file is None:
            return False
        if not (file.is_coming or file.in_ram):
            if not self._hold(file.n_bytes):
                return False
            file.blob, file.is_coming = self._new_blob(), True
            self._by_blob[file.blob] = file
            self._ops.append(Fetch(file.blob, file.key))
        file.n_pins += 1
        sequence.fetching_whole = file
        self._waiting.append(sequence)
        return file.is_coming

    def fetched(self, blob: int, *, ok: bool) -> None:
        """The read is over."""
        file = self._by_blob[blob]
        file.is_coming, file.in_ram = False, ok
        if not ok:
            self._forget(file)
            self._drop(file)
        elif not file.n_pins:
            self._discard(file)

    def arrived(self, sequence: Sequence, n_here: int) -> WholeFile | None:
        """The file that was read for it, if that still goes further than what is in memory."""
        file = sequence.fetching_whole
        return file if file and file.in_ram and file.length > n_here else None

    def hand_over(self, file: WholeFile) -> int:
        """The blob that was read. It is the caller's from here on, and the caller's to count."""
        self._touch(file)
        return self._forget(file)

    def stop_waiting(self, sequence: Sequence) -> None:
        """It stops waiting."""
        self._furthest.pop(sequence, None)
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        if file := sequence.fetching_whole:
            file.n_pins -= 1
            if file.in_ram and not file.n_pins:
                self._discard(file)
        sequence.fetching_whole = None

    def check(self) -> None:
        pins = Counter(id(one.fetching_whole) for one in self._waiting)
        files = self._files.values()
        assert all(file.n_pins == pins[id(file)] for file in files)
        assert self.used_bytes == sum(file.n_bytes for file in files) <= self.room_bytes
        assert +self._lengths == Counter(file.length for file in files)
        here = {file.blob for file in files if file.in_ram or file.is_coming}
        assert here == self._by_blob.keys()
        assert all(file is self._look_up(one) for one, file in self._furthest.items())

    def _adopt(self, stored: Iterable[Stored]) -> None:
        """Take in the files of an earlier worker, least recently used first."""
        for one in stored:
            if one.tokens:  # a stretch of cells, from another layout
                self._ops.append(Erase(one.key))
            else:
                self._add(one)
        self._make_room(0)

    def _look_up(self, sequence: Sequence) -> WholeFile | None:
        along = list(self._along(sequence.tokens[: sequence.n_prompt]))
        return along[-1] if along else None

    def _along(self, tokens: list[int]) -> Iterator[WholeFile]:
        """The files of any shorter prefix of these tokens, shortest first."""
        lengths = sorted(length for length in self._lengths if length < len(tokens))
        for name in prefix_names(tokens, lengths):
            if file := self._files.get(name):
                yield file

    def _add(self, stored: Stored) -> None:
        file = WholeFile(stored.parent, stored.key, stored.start, stored.n_bytes)
        self._files[file.name] = file
        self._lengths[file.length] += 1
        self._furthest.clear()
        self.used_bytes += file.n_bytes
        self._touch(file)

    def _touch(self, file: WholeFile) -> None:
        self._now += 1
        file.used_at = self._now

    def _make_room(self, n_bytes: int) -> bool:
        while self.used_bytes + n_bytes > self.room_bytes or len(self._files) >= _MAX_FILES:
            free = (file for file in self._files.values() if not file.is_in_use)
            least = min(free, key=self._worth, default=None)
            if least is None:
                return False
            self._drop(least)
        return True

    def _worth(self, file: WholeFile) -> float:
        return file.length / file.n_bytes / (self._now - file.used_at + 1)

    def _drop(self, file: WholeFile) -> None:
        """Whoever waits for it will find nothing in memory, and compute."""
        assert not file.in_ram, "what is in memory is somebody's"
        del self._files[file.name]
        self._lengths[file.length] -= 1
        if not self._lengths[file.length]:
            del self._lengths[file.length]
        self._furthest.clear()
        self.used_bytes -= file.n_bytes
        self._ops.append(Erase(file.key))

    def _discard(self, file: WholeFile) -> None:
        self._ops.append(Discard(self._forget(file)))

    def _forget(self, file: WholeFile) -> int:
        """The blob that it was read into, which is no longer counted here."""
        blob, file.blob, file.in_ram = file.blob, None, False
        assert blob is not None, "it was never read"
        self._let_go(file.n_bytes)
        del self._by_blob[blob]
        return blob
