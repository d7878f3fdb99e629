"""A model without llama.cpp, as strict about its memory as llama.cpp is.

Cells are real objects here: a fork shares them, a forget takes a tag away, and computing without
a free cell fails. The next token is a function of everything that the sequence's cells hold, so
an answer comes out right only if the cells do.
"""

from edgellm.chat.messages import Structure
from edgellm.errors import BadRequest
from edgellm.runner.backend import NoKVSlot, Step
from edgellm.runner.batch import (
    Batch,
    Copy,
    Forget,
    Fork,
    Mask,
    Op,
    Row,
    Sampled,
    Start,
    Stop,
    Trim,
)
from edgellm.runner.memory import Limits
from edgellm.runner.verify import sampled_rows

END = 2
VOCABULARY = 50


def next_token(tokens: list[int]) -> int:
    """Any function of the whole text will do, if it is sensitive to all of it."""
    state = 17
    for token in tokens:
        state = (state * 31 + token + 7) % 10_007
    return 3 + state % (VOCABULARY - 3)


def answer(prompt: list[int], n: int) -> list[int]:
    """What the model must say to this prompt, computed without any memory."""
    tokens = list(prompt)
    for _ in range(n):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


class FakeBackend:
    n_embd = 4
    n_vocab = VOCABULARY

    def __init__(self, limits: Limits, *, end_after: int | None = None, say=next_token):
        self.limits = limits
        self.cells: dict[int, list[tuple[int, object]]] = {}  # seq_id: (token, cell)
        self.started: set[int] = set()
        self.n_computed = 0
        self.end_after = end_after
        self.say = say  # the next token, of all that came before
        self.n_said: dict[int, int] = {}

    @property
    def used_cells(self) -> int:
        return len({id(cell) for held in self.cells.values() for _, cell in held})

    def tokenize(self, text: str, add_special: bool) -> list[int]:
        return [3 + ord(character) % (VOCABULARY - 3) for character in text]

    def piece(self, token: int) -> bytes:
        return f"{token} ".encode()

    def marks(self, markers: tuple[str, ...]) -> dict[int, bytes]:
        return {}

    def compile(self, structure: Structure) -> Mask:
        raise BadRequest("this fake follows no structure")

    def decode(self, batch: Batch) -> Step:
        for op in batch.ops:
            self._obey(op)
        assert len(batch.rows) <= self.limits.n_batch
        return Step(self._compute(batch))

    def _obey(self, op: Op) -> None:
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
                self.cells[target] = [(token, object()) for token, _ in self.cells[source][:length]]
            case Start(seq_id):
                assert seq_id not in self.started, f"seq {seq_id} started twice"
                assert seq_id < self.limits.n_seq_max, f"seq {seq_id} can't run"
                self.started.add(seq_id)
                self.n_said[seq_id] = 0
            case Stop(seq_id):
                self.started.remove(seq_id)

    def _compute(self, batch: Batch) -> dict[int, tuple[Sampled, ...]]:
        n_logits = sum(row.wants_logits for row in batch.rows)
        assert n_logits <= self.limits.n_seq_max + self.limits.n_draft_rows
        for row in batch.rows:
            assert row.seq_id in self.started, f"seq {row.seq_id} was never started"
            held = self.cells.setdefault(row.seq_id, [])
            assert row.pos == len(held), f"seq {row.seq_id} holds {len(held)}, row: {row.pos}"
            held.append((row.token, object()))
            self.n_computed += 1
            assert len(held) <= self.limits.n_ctx_seq, f"seq {row.seq_id} outgrew its context"
            if self.used_cells > self.limits.n_cells:
                raise NoKVSlot(f"{self.used_cells} of {self.limits.n_cells} cells")
        return sampled_rows(batch.rows, lambda seq_id, i: self._sample(batch.rows[i]))

    def _sample(self, row: Row) -> Sampled:
        self.n_said[row.seq_id] += 1
        ends = self.n_said[row.seq_id] == self.end_after
        held = self.cells[row.seq_id][: row.pos + 1]
        token = END if ends else self.say([token for token, _ in held])
        return Sampled(token, ends, ends)

    def embed(self, inputs: list[list[int]]) -> list[bytes]:
        assert sum(map(len, inputs)) <= self.limits.n_batch
        assert len(inputs) <= self.limits.n_seq_max
        return [bytes([len(tokens)] * 4) for tokens in inputs]
