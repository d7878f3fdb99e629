"""The KV memory as the scheduler sees it: who gets which id, which cells, and what stays.

llama.cpp keeps its cells in one pool that all sequences share (unified), or gives every sequence a
stream of its own (split). They differ in what a shared prefix costs, so each is a policy:

    unified  a fork tags cells for one more sequence: no copy, no cell. But every step looks at all
             used cells, so what is idle slows everyone.
    split    a fork copies. A sequence looks at its own cells only, and they lie as if it were
             alone.

Both keep sequences that have ended, for the next turn of their conversation, until someone needs
their place. Source: llama.cpp src/llama-kv-cache.cpp, `seq_cp`, `find_slot`.
"""

from dataclasses import dataclass
from typing import Protocol

from edgellm.runner.prefix import Match, RetainedStore
from edgellm.runner.sequence import Sequence

# Fewer tokens in common than this are computed again: sooner than one waits for another to compute
# them, or than a whole stream is copied.
WORTH_SHARING = 32


@dataclass(frozen=True, slots=True)
class Limits:
    """What the loaded model offers. Facts from the backend; see llama.py."""

    n_cells: int  # over all sequences
    n_ctx_seq: int  # tokens of one conversation
    n_batch: int  # rows of one step
    n_seq_max: int  # ids that may run
    n_ids: int = 0  # ids in all, running and retained; at most llama.cpp's 256
    shares_prefixes: bool = False
    unified: bool = True
    n_chunk: int | None = None  # batch-invariant: prompts are computed, and shared, in such chunks
    n_draft_rows: int = 0  # rows of logits that a step has beyond one for each running sequence
    has_draft_model: bool = False


class Memory(Protocol):
    """What a policy does to llama.cpp's memory, it appends to the list of ops it was made with."""

    retained: RetainedStore

    @property
    def used(self) -> int:
        """Cells taken, running and retained."""
        ...

    def admit(self, sequence: Sequence, match: Match | None, running: list[Sequence]) -> bool:
        """Give it an id, and the cells it shares with its match. False: there is no room yet."""
        ...

    def grow(self, sequence: Sequence, count: int) -> None:
        """It has computed `count` more tokens."""

    def leave(self, sequence: Sequence) -> None:
        """It has ended: retain it, or give its cells back."""

    def relieve(self) -> None:
        """Forget all that is retained."""

    def check(self, running: list[Sequence]) -> None:
        """Assert what must hold between steps."""
