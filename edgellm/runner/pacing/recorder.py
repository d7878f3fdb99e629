"""The flight recorder: what the last thousand steps took, and what was in them. Pure.

A step's wall time is one turn of the worker's loop: read what came, decide, compute, tell it
through the pipe. The part of it that is not native (llama.cpp's own work: memory operations,
decoding, sampling) is what this program itself costs: look there first when a token comes late.
"""

from collections import deque

import msgspec

from edgellm.runner.batch import Batch, Start, Stop

_N_KEPT = 1000


class NativeTimes(msgspec.Struct, frozen=True):
    """Seconds inside llama.cpp, and inside numpy where that samples."""

    ops_s: float = 0.0  # forks, copies, saved and restored state, samplers set up
    decode_s: float = 0.0  # llama_decode, up to the last logit
    sample_s: float = 0.0  # masks and samplers
    mask_s: float = 0.0  # of these, structures' masks
    late_mask_s: float = 0.0  # of decode_s at most: masks that outlasted the device
    set_up_s: float = 0.0  # of ops_s, what is no copy: samplers of sequences that begin and end


class StepRecord(msgspec.Struct, frozen=True):
    step: int  # counts from the worker's start
    start_s: float  # on the clock of the machine, time.monotonic()
    wall_s: float
    ops_s: float
    decode_s: float
    sample_s: float
    other_s: float  # wall_s less the three
    n_decode: int  # rows that continue an answer
    n_draft: int  # rows of tokens that are guessed to come after them
    n_prompt: int  # rows that read a prompt
    n_padding: int  # rows of nobody's, because so many are faster
    n_sequences: int  # that had a row
    n_waiting: int
    n_cells_used: int
    n_kv: int | None  # cells that every row looks at; None where each sequence has its own
    n_cached: int  # prompt tokens found in memory by those who began with this step
    n_ops: int  # memory operations
    n_threads: int | None = None  # of the CPU; fewer beside a busy neighbour
    mask_s: float = 0.0  # of sample_s, structures' masks
    late_mask_s: float = 0.0  # of decode_s at most: masks that outlasted the device


class Recorder:
    def __init__(self, n_kept: int = _N_KEPT) -> None:
        self._records: deque[StepRecord] = deque(maxlen=n_kept)

    def add(
        self,
        step: int,
        batch: Batch,
        times: NativeTimes,
        *,
        start_s: float,
        end_s: float,
        n_waiting: int,
        n_cells_used: int,
        n_kv: int | None,
        n_cached: int,
        n_threads: int | None = None,
    ) -> None:
        wall_s = end_s - start_s
        n_sequences = len({row.seq_id for row in batch.rows})
        # Guesses go only where no prompt is read: then each sequence has one row that is none.
        n_draft = 0 if batch.n_prompt_rows else len(batch.rows) - n_sequences
        record = StepRecord(
            step=step,
            start_s=start_s,
            wall_s=wall_s,
            ops_s=times.ops_s,
            decode_s=times.decode_s,
            sample_s=times.sample_s,
            other_s=wall_s - times.ops_s - times.decode_s - times.sample_s,
            n_decode=len(batch.rows) - batch.n_prompt_rows - n_draft,
            n_draft=n_draft,
            n_prompt=batch.n_prompt_rows,
            n_padding=len(batch.padding),
            n_sequences=n_sequences,
            n_waiting=n_waiting,
            n_cells_used=n_cells_used,
            n_kv=n_kv,
            n_cached=n_cached,
            n_ops=len([op for op in batch.ops if not isinstance(op, Start | Stop)]),
            n_threads=n_threads,
            mask_s=times.mask_s,
            late_mask_s=times.late_mask_s,
        )
        self._records.append(record)

    def last(self, n: int) -> tuple[StepRecord, ...]:
        """The newest `n`, oldest first."""
        return tuple(self._records)[-n:] if n > 0 else ()
