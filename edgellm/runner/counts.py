"""What the worker's loop counts, and its whole state in one message."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from edgellm.runner.batch import Batch
from edgellm.runner.messages import Gauge, WorkRow
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

_MOST_WAITING = 64  # a gauge lists only the next ones


@dataclass(slots=True)
class Counts:
    n_steps: int = 0
    n_decoded: int = 0
    n_prefilled: int = 0
    n_prompt: int = 0
    n_cached: int = 0
    n_restored: int = 0
    n_loaded: int = 0
    n_alone: int = 0
    alone_s: float = 0.0
    _n_decoded_before: int = 0

    def turn(self, batch: Batch, wall_s: float, n_running: int) -> None:
        """A turn of the loop has computed `batch`. Counted apart is a turn that continued the only
        answer: a plan predicts the speed of such a single stream. `n_running`: sequences, some of
        which may have no row in the batch, where streams take turns."""
        n_told = self.n_decoded - self._n_decoded_before
        self._n_decoded_before = self.n_decoded
        if n_running == 1 and not batch.n_prompt_rows:
            self.n_alone += n_told
            self.alone_s += wall_s


def share_step(batch: Batch, running: dict[int, Sequence], seconds: float) -> None:
    """Divide a step among the sequences that had rows in it."""
    members = {row.seq_id for row in batch.rows}
    for seq_id in members:
        running[seq_id].step_share += 1 / len(members)
        running[seq_id].step_share_s += seconds / len(members)


def gauge(scheduler: Scheduler, counts: Counts, embedding: Iterable[WorkRow] = ()) -> Gauge:
    """`embedding`: the work for inputs that no scheduler has."""
    sequences = [*scheduler.running.values(), *islice(scheduler.waiting, _MOST_WAITING)]
    return Gauge(
        n_waiting=len(scheduler.waiting),
        n_running=len(scheduler.running),
        n_retained=len(scheduler.memory.retained),
        n_cells=scheduler.limits.n_cells,
        n_cells_used=scheduler.memory.used,
        n_decoded=counts.n_decoded,
        n_prefilled=counts.n_prefilled,
        n_cached=counts.n_cached,
        n_prompt=counts.n_prompt,
        n_steps=counts.n_steps,
        n_drafted=scheduler.n_drafted,
        n_draft_accepted=scheduler.n_draft_accepted,
        n_kv=scheduler.memory.n_kv,
        prefix_ram_bytes=scheduler.memory.shelf_bytes,
        prefix_disk_bytes=scheduler.memory.disk_bytes,
        n_restored=counts.n_restored,
        n_loaded=counts.n_loaded,
        n_alone=counts.n_alone,
        alone_s=counts.alone_s,
        sequences=tuple((s.request_id, s.n_prompt, s.n_computed, s.n_output) for s in sequences),
        work=(
            *(
                (s.request_id, s.step_share, s.n_computed_here, s.step_share_s)
                for s in scheduler.running.values()
            ),
            *embedding,
        ),
    )
