"""Who keeps which part of a model, as far as memory goes.

A layout is a Placement without its bytes: the arithmetic turns a layout into the bytes of each
accelerator and of the host, and the search compares hundreds of them.
"""

from dataclasses import dataclass

from edgellm.probe.hardware import Backend, Hardware
from edgellm.selector.plan import Placement, SplitMode


@dataclass(frozen=True, slots=True)
class Layout:
    """Accelerators are in llama.cpp's order, each with a run of consecutive layers; the lowest
    layers, those of no accelerator, are the host's. Layer n_layers is the output head."""

    backends: tuple[Backend, ...] = ()
    layers: tuple[range, ...] = ()
    n_cpu_moe: int = 0  # the experts of the first n layers are the host's
    op_offload: bool = True
    split_mode: SplitMode = "layer"

    @property
    def n_accelerators(self) -> int:
        return len(self.backends)

    def n_host_layers(self, n_layers: int) -> int:
        """How many of the lowest layers are the host's; n_layers + 1 when it has the head too."""
        return min((part.start for part in self.layers if part), default=n_layers + 1)

    def owner(self, il: int) -> int | None:
        """The place in `backends` of who has layer `il`; None: the host."""
        return next((i for i, part in enumerate(self.layers) if il in part), None)

    def experts_on_host(self, il: int) -> bool:
        return il < self.n_cpu_moe


HOST_ONLY = Layout()


def layout_of(placement: Placement, hardware: Hardware) -> Layout:
    shares = placement.shares[:-1]
    return Layout(
        tuple(hardware.device(share.device_id).backend for share in shares),
        tuple(_run(share.layers) for share in shares),
        placement.n_cpu_moe,
        placement.op_offload,
        placement.split_mode,
    )


def _run(layers: tuple[int, ...]) -> range:
    return range(layers[0], layers[-1] + 1) if layers else range(0)
