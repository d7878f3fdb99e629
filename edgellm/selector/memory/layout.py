"""Who keeps which part of a model, as far as memory goes.

A layout is a Placement without its bytes: the arithmetic turns a layout into the bytes of each
accelerator and of the host, and the search compares hundreds of them.
"""

from edgellm.models.anatomy.graph_facts import EXPERT_MATRICES
from edgellm.probe.hardware import Backend, Hardware
from edgellm.selector.plan import ExpertPart, Placement, SplitMode
from edgellm.values import frozen


@frozen
class Aside:
    """Which experts are the host's: those of the first n layers, and parts of other layers'."""

    n_layers: int = 0
    parts: tuple[ExpertPart, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.n_layers or self.parts)

    @property
    def stop(self) -> int:
        """Behind the last layer that it touches."""
        return max(self.n_layers, *(part.layer + 1 for part in self.parts), 0)

    def matrices(self, il: int) -> tuple[str, ...]:
        """Of layer `il`'s experts."""
        if il < self.n_layers:
            return EXPERT_MATRICES
        return next((part.matrices for part in self.parts if part.layer == il), ())


NOTHING_ASIDE = Aside()


@frozen
class Layout:
    """Accelerators are in llama.cpp's order, each with a run of consecutive layers; the lowest
    layers, those of no accelerator, are the host's. Layer n_layers is the output head."""

    backends: tuple[Backend, ...] = ()
    layers: tuple[range, ...] = ()
    aside: Aside = NOTHING_ASIDE
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


HOST_ONLY = Layout()


def layout_of(placement: Placement, hardware: Hardware) -> Layout:
    shares = placement.shares[:-1]
    return Layout(
        tuple(hardware.device(share.device_id).backend for share in shares),
        tuple(_run(share.layers) for share in shares),
        Aside(placement.n_cpu_moe, placement.expert_parts),
        placement.op_offload,
        placement.split_mode,
    )


def _run(layers: tuple[int, ...]) -> range:
    return range(layers[0], layers[-1] + 1) if layers else range(0)
