"""A layout added up: every device's bytes, and whether its pools hold them."""

from collections.abc import Sequence

from edgellm.probe.hardware import Device
from edgellm.selector.memory.layout import Layout
from edgellm.selector.memory.load import Load
from edgellm.selector.memory.process import process_bytes
from edgellm.selector.oracle import BufferBytes
from edgellm.selector.placing.machine import Machine, Shortfall
from edgellm.selector.placing.proportions import tensor_split
from edgellm.selector.plan import Placement, Share, SplitMode
from edgellm.values import frozen


@frozen
class Ways:
    """What of a placement is settled before it is made, by a pin or as the variant to try."""

    n_gpu_layers: int | None = None  # negative: all, as llama.cpp has it
    n_cpu_moe: int | None = None
    tensor_split: tuple[float, ...] = ()  # one for each device
    split_mode: SplitMode = "layer"
    op_offload: bool = True
    experts_first: bool = True  # or whole layers, when not all fits
    allow_disk: bool = False

    @property
    def is_whole(self) -> bool:
        """Everything is to lie on the devices."""
        return self.n_gpu_layers is not None and self.n_gpu_layers < 0 and self.n_cpu_moe == 0

    def n_wished(self, n_all: int) -> int:
        if self.n_gpu_layers is None or self.n_gpu_layers < 0:
            return n_all
        return min(self.n_gpu_layers, n_all)


def placement_of(
    load: Load,
    machine: Machine,
    devices: Sequence[Device],
    layout: Layout,
    parts: Sequence[BufferBytes],
    ways: Ways,
) -> Placement | Shortfall:
    """`devices` in llama.cpp's order, as the layout has them; `parts` theirs, then the host's."""
    shares = _shares(load, machine, devices, layout, parts)
    disk_bytes = _disk_bytes(shares, machine) if ways.allow_disk else 0
    if short := machine.shortfall(shares, disk_bytes):
        return short
    counts = [len(part) for part in layout.layers]
    host = shares[-1]
    works = bool(devices) and host.computes
    split = ways.tensor_split if len(ways.tensor_split) == len(counts) else tensor_split(counts)
    return Placement(
        shares=shares,
        n_gpu_layers=sum(counts),
        tensor_split=split,
        n_cpu_moe=layout.aside.n_layers,
        split_mode=layout.split_mode,
        op_offload=ways.op_offload,
        # Repacked weights can't be copied to a device for a prompt, so it's one or the other.
        no_host=works and not layout.op_offload and not disk_bytes,
        disk_bytes=disk_bytes,
    )


def with_bytes(placement: Placement, measured: Sequence[BufferBytes]) -> tuple[Share, ...]:
    """The placement's shares with other bytes than the arithmetic's."""
    return tuple(
        Share(
            share.device_id,
            share.pool_id,
            share.layers,
            row.weight_bytes,
            row.kv_bytes,
            row.compute_bytes,
            share.overhead_bytes,
            share.expert_layers,
            share.expert_parts,
        )
        for share, row in zip(placement.shares, measured, strict=True)
    )


def _shares(
    load: Load,
    machine: Machine,
    devices: Sequence[Device],
    layout: Layout,
    parts: Sequence[BufferBytes],
) -> tuple[Share, ...]:
    *each, host = parts
    n_host = layout.n_host_layers(load.n_blocks)
    shares = [
        Share(
            device.id,
            device.pool_id,
            tuple(part),
            row.weight_bytes,
            row.kv_bytes,
            row.compute_bytes,
            machine.overhead_bytes(device),
        )
        for device, part, row in zip(devices, layout.layers, each, strict=True)
    ]
    own = Share(
        "cpu",
        machine.host_id,
        tuple(range(n_host)),
        host.weight_bytes,
        host.kv_bytes,
        host.compute_bytes,
        process_bytes(load.spec),
        expert_layers=tuple(range(n_host, layout.aside.n_layers)),
        expert_parts=layout.aside.parts,
    )
    return (*shares, own)


def _disk_bytes(shares: Sequence[Share], machine: Machine) -> int:
    """What of the host's weights may stay in the file: as much as memory lacks, if that is all."""
    if len(shares) > 1 and machine.hardware.host.kind == "unified":
        return 0  # a device reads its weights from memory only
    missing = machine.host_missing_bytes(shares)
    return missing if missing <= shares[-1].weight_bytes else 0
