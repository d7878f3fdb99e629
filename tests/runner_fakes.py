"""A model without llama.cpp, as strict about its memory as llama.cpp is.

Cells are real objects here: a fork shares them, a forget takes a tag away, and computing without
a free cell fails. The next token is a function of everything that the sequence's cells hold, so
an answer comes out right only if the cells do.
"""

import itertools
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from edgellm.chat.messages import AdapterSet, GenerateParams
from edgellm.errors import BadGGUF, BadRequest, EdgellmError
from edgellm.runner.backend import Input, NoKVSlot, Step
from edgellm.runner.batch import (
    Batch,
    Copy,
    Discard,
    Erase,
    Fetch,
    Forget,
    Fork,
    Mask,
    Op,
    Restore,
    Row,
    Sampled,
    Save,
    Start,
    Stop,
    Store,
    Trim,
)
from edgellm.runner.drafting.verify import sampled_rows
from edgellm.runner.intake.infill import FillMarks
from edgellm.runner.kv.last_read import LastRead
from edgellm.runner.kv.memory import Limits
from edgellm.runner.kv.prefix_file import Stored

END = 2
VOCABULARY = 50


def next_token(tokens: list[int]) -> int:
    """Any function of the whole text will do, if it is sensitive to all of it."""
    state = 17
    for token in tokens:
        state = (state * 31 + token + 7) % 10_007
    return 3 + state % (VOCABULARY - 3)


def answer(prompt: list[int], n: int, adapters: AdapterSet = ()) -> list[int]:
    """What the model must say to this prompt, computed without any memory."""
    tokens = list(prompt)
    for _ in range(n):
        tokens.append(next_token([token + shade(adapters) for token in tokens]))
    return tokens[len(prompt) :]


def shade(adapters: AdapterSet) -> int:
    """An adapter changes what every cell holds."""
    return sum(round(scale * 1000) * (7 + adapter_id) for adapter_id, scale in adapters)


@dataclass(eq=False)
class Cell:
    place: int  # its number: llama.cpp takes the lowest free ones


class FakeBackend:
    n_embd = 4
    n_vocab = VOCABULARY
    score_at = 1
    overlaps = False

    def __init__(
        self,
        limits: Limits,
        *,
        end_after: int | None = None,
        say=next_token,
        pooling: str | None = "mean",
    ):
        self.limits, self.pooling = limits, pooling
        self.n_input = min(limits.n_batch, limits.n_ctx_seq)
        self.adapters: dict[int, bytes] = {}
        self.embedded: list[list[list[int]]] = []  # the tokens of each call
        self.cells: dict[int, list[tuple[int, Cell]]] = {}  # seq_id: (token, cell)
        self.files: dict[bytes, tuple[Stored, list[int]]] = {}  # what lies on disk
        self.fetches: list[tuple[int, bytes]] = []  # what is being read from there
        self.blobs: dict[int, tuple[int, list[int]]] = {}  # by number: where it starts, tokens
        self.last_read = LastRead(self._all_of)
        self.started: set[int] = set()
        self.n_computed = self.n_padded = 0
        self.end_after = end_after
        self.say = say  # the next token, of all that came before
        self.n_said: dict[int, int] = {}

    def fetch(self, *, ok: bool = True) -> tuple[int, float | None]:
        """The disk has read what was asked for first; or couldn't."""
        blob, key = self.fetches.pop(0)
        if not ok:
            return blob, None
        stored, tokens = self.files[key]
        self.blobs[blob] = (stored.start, tokens)
        return blob, 0.001

    @property
    def used_cells(self) -> int:
        return len({id(cell) for held in self.cells.values() for _, cell in held})

    @property
    def n_kv(self) -> int:
        """Cells that a step looks at."""
        places = self._places()
        return min(self.limits.n_cells, (max(places, default=0) // 256 + 1) * 256)

    def _places(self) -> set[int]:
        return {cell.place for held in self.cells.values() for _, cell in held}

    def _new_cells(self) -> Iterator[Cell]:
        """To be used up before any cell is freed."""
        places = self._places()
        return (Cell(place) for place in itertools.count() if place not in places)

    def tokenize(self, text: str, add_special: bool, parse_special: bool = True) -> list[int]:
        return [3 + ord(character) % (VOCABULARY - 3) for character in text]

    def piece(self, token: int) -> bytes:
        return f"{token} ".encode()

    letters = piece

    def pairs(self, query, documents, max_doc_tokens) -> Iterator[list[int]]:
        asked = self.tokenize(query, False)
        for document in documents:
            yield [*asked, 1, *self.tokenize(document, False)[:max_doc_tokens]]

    def fill_marks(self) -> FillMarks:
        return FillMarks(prefix=40, suffix=41, middle=42)

    def load_adapter(self, adapter_id: int, path: bytes) -> None:
        assert adapter_id not in self.adapters
        if b"bad" in path:
            raise BadGGUF("llama.cpp could not load this adapter; its log says why")
        self.adapters[adapter_id] = path

    def free_adapter(self, adapter_id: int) -> None:
        del self.adapters[adapter_id]

    def marks(self, markers: tuple[str, ...]) -> dict[int, bytes]:
        return {}

    def prepare(self, params: GenerateParams) -> Mask | None:
        raise BadRequest("this fake follows no structure")

    def decode(self, batch: Batch) -> Step:
        for op in batch.ops:
            self._obey(op)
        assert len(batch.rows) + len(batch.padding) <= self.limits.n_batch
        self._check_padding(batch)
        assert all(one in self.adapters and scale for one, scale in batch.adapters)
        return Step(self._compute(batch))

    def _check_padding(self, batch: Batch) -> None:
        """Rows of nobody's: on an id that is nobody's, in cells that are there."""
        self.n_padded += len(batch.padding)
        for pos, row in enumerate(batch.padding):
            assert self.limits.unified
            assert row.seq_id < self.limits.n_seq_max
            assert row.seq_id not in self.started
            assert not self.cells.get(row.seq_id), f"seq {row.seq_id} is somebody's"
            assert row.pos == pos
            assert row.wants_logits
        n_logits = sum(row.wants_logits for row in (*batch.rows, *batch.padding))
        assert n_logits <= self.limits.n_seq_max + self.limits.n_draft_rows
        if batch.padding:
            n_used = self.used_cells + len(batch.rows) + len(batch.padding)
            assert n_used <= self.limits.n_cells, "padding took somebody's cell"

    def _all_of(self, seq_id: int) -> list[int]:
        return [token for token, _ in self.cells[seq_id]]

    def _obey(self, op: Op) -> None:
        self.last_read.heed(op)
        match op:
            case Forget(seq_id):
                self.cells.pop(seq_id, None)
            case Trim(seq_id, length):
                assert length <= len(self.cells[seq_id])
                del self.cells[seq_id][length:]
            case Fork(source, target, length):
                assert self.limits.unified, "a range of a split KV can't be tagged"
                assert not self.cells.get(target), f"seq {target} is not empty"
                assert length <= len(self.cells[source]), f"seq {source} is shorter"
                self.cells[target] = self.cells[source][:length]
            case Copy(source, target, length):
                assert not self.limits.unified
                assert length <= len(self.cells[source]), f"seq {source} is shorter"
                copied = self.last_read.of(source)[:length]
                self.cells[target] = []
                self._fill(target, copied)
            case Save() | Restore() | Discard():
                self._copy(op)
            case Store() | Fetch() | Erase():
                self._file(op)
            case Start(seq_id):
                assert seq_id not in self.started, f"seq {seq_id} started twice"
                assert seq_id < self.limits.n_seq_max, f"seq {seq_id} can't run"
                self.started.add(seq_id)
                self.n_said[seq_id] = 0
            case Stop(seq_id):
                self.started.remove(seq_id)

    def _file(self, op: Store | Fetch | Erase) -> None:
        match op:
            case Store(blob, stored):
                start, tokens = self.blobs[blob]
                assert (start, tuple(tokens[start:])) == (stored.start, stored.tokens)
                assert stored.key not in self.files, "it is there already"
                assert not stored.parent or stored.parent in self.files, "it has no way to it"
                self.files[stored.key] = (stored, tokens)
            case Fetch(blob, key):
                assert blob not in self.blobs, "it is here"
                self.fetches.append((blob, key))
            case Erase(key):
                self.files.pop(key, None)

    def _copy(self, op: Save | Restore | Discard) -> None:
        match op:
            case Save(source, start, end, blob):
                assert self.limits.n_scratch, "a stretch is copied through an id of its own"
                assert blob not in self.blobs, f"blob {blob} is written twice"
                assert 0 <= start < end <= len(self.cells[source]), f"seq {source} is shorter"
                tokens = [token for token, _ in self.cells[source]]
                self.blobs[blob] = (start, tokens[:end])  # it is worth something after these only
            case Restore(blob, target, begins, stretch):
                start, tokens = self.blobs[blob]
                own = tokens[start:]
                assert (begins, len(stretch)) == (start, len(own)), "not what it holds"
                shades = {held - told for held, told in zip(own, stretch, strict=True)}
                assert len(shades) == 1, "not what it holds"  # of one set of adapters
                held = self.cells.setdefault(target, [])
                assert [token for token, _ in held] == tokens[:start], "another text lies before"
                self._fill(target, tokens[start:])
            case Discard(blob):
                del self.blobs[blob]

    def _fill(self, seq_id: int, tokens: list[int]) -> None:
        self.cells[seq_id] += zip(tokens, self._new_cells(), strict=False)
        assert self.used_cells <= self.limits.n_cells, f"{self.used_cells} cells"

    def _compute(self, batch: Batch) -> dict[int, tuple[Sampled, ...]]:
        self.last_read.forget()
        n_logits = sum(row.wants_logits for row in batch.rows)
        assert n_logits <= self.limits.n_seq_max + self.limits.n_draft_rows
        new_cells, n_used = self._new_cells(), self.used_cells
        for row in batch.rows:
            assert row.seq_id in self.started, f"seq {row.seq_id} was never started"
            held = self.cells.setdefault(row.seq_id, [])
            assert row.pos == len(held), f"seq {row.seq_id} holds {len(held)}, row: {row.pos}"
            held.append((row.token + shade(batch.adapters), next(new_cells)))
            self.n_computed += 1
            assert len(held) <= self.limits.n_ctx_seq, f"seq {row.seq_id} outgrew its context"
            n_used += 1
            if n_used > self.limits.n_cells:
                raise NoKVSlot(f"{n_used} of {self.limits.n_cells} cells")
        return sampled_rows(batch.rows, lambda seq_id, i: self._sample(batch.rows[i]))

    def _sample(self, row: Row) -> Sampled:
        self.n_said[row.seq_id] += 1
        ends = self.n_said[row.seq_id] == self.end_after
        held = self.cells[row.seq_id][: row.pos + 1]
        token = END if ends else self.say([token for token, _ in held])
        return Sampled(token, ends, ends)

    def embed(self, inputs: list[Input]) -> list[bytes]:
        """The input's length and its norm; a pair's score is its last token."""
        tokens = [each.tokens for each in inputs]
        assert sum(map(len, tokens)) <= self.limits.n_batch or len(tokens) == 1
        assert max(map(len, tokens)) <= self.n_input
        assert len(tokens) <= self.limits.n_seq_max
        if any(each == [13] for each in tokens):
            raise EdgellmError("thirteen")
        self.embedded.append(tokens)
        if self.pooling == "rank":
            return [array("f", [0, each[-1]]).tobytes() for each in tokens]
        return [array("f", [len(each.tokens), each.norm]).tobytes() for each in inputs]
