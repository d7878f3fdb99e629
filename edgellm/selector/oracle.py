"""The border to llama.cpp's own memory figures, for machines that may not exist.

The search goes by arithmetic, which costs microseconds; what it found is confirmed by the oracle,
which is llama.cpp itself in a child process and costs a tenth of a second. `runner.oracle` is it.
"""

from typing import Protocol

from edgellm.probe.hardware import Hardware
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.plan import Candidate, Placement
from edgellm.values import frozen


@frozen
class BufferBytes:
    """What one device, or the host, would be asked for.

    The host's `compute_bytes` hold llama.cpp's output buffer too, as `compute.compute_bytes`.
    """

    weight_bytes: int
    kv_bytes: int
    compute_bytes: int


class Oracle(Protocol):
    def measure(
        self, candidate: Candidate, shape: ContextShape, placement: Placement, hardware: Hardware
    ) -> tuple[BufferBytes, ...] | None:
        """One row for each share of `placement`, in its order. None: nobody can tell here."""
        ...
