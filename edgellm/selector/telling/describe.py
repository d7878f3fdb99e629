"""A placement in a few words, what a pool is called, and the command that ranks models."""

from collections.abc import Sequence

from edgellm.probe.hardware import Device, Hardware
from edgellm.selector.placing.machine import Shortfall
from edgellm.selector.plan import Goal, Placement, Share
from edgellm.units import format_bytes


def placement_text(placement: Placement, n_layers: int) -> str:
    """ "all layers on 2 devices", "experts of 20 layers on the CPU"."""
    n_all, n_devices = n_layers + 1, len(placement.device_ids)
    devices = "1 device" if n_devices == 1 else f"{n_devices} devices"
    if not n_devices:
        text = "all on the CPU"
    elif placement.split_mode != "layer":
        text = f"every layer split over {devices}"
    elif placement.n_gpu_layers < n_all:
        text = f"{placement.n_gpu_layers} of {n_all} layers on {devices}"
        if placement.shares[-1].expert_layers:
            text += ", all experts on the CPU"
    elif placement.has_experts_aside:
        text = f"{experts_text(placement.shares[-1])} on the CPU, the rest on {devices}"
    else:
        text = f"all layers on {devices}"
    if placement.disk_bytes:
        text += f", {format_bytes(placement.disk_bytes)} read from disk"
    return text


def experts_text(share: Share) -> str:
    """ "experts of 20 layers", "experts of 20 layers, of 1 in part"."""
    n, n_parts = len(share.expert_layers), len(share.expert_parts)
    if not n:
        return f"experts of {layers_text(n_parts)} in part"
    return f"experts of {layers_text(n)}" + (f", of {n_parts} in part" if n_parts else "")


def layers_text(n: int) -> str:
    return "1 layer" if n == 1 else f"{n} layers"


def ranking(goal: Goal, machine_flags: str = "") -> str:
    """The command that ranks what this machine runs best, for the same use and pace."""
    use = "" if goal.use == Goal().use else f" --use {goal.use}"
    pace = "" if goal.min_tok_s is None else f" --min-tok-s {goal.min_tok_s:g}"
    return f"edgellm recommend{machine_flags}{use}{pace}"


def binding_text(short: Shortfall, hardware: Hardware) -> str:
    return (
        f"needs {format_bytes(short.needed_bytes)} on {pool_name(hardware, short.pool_id)}, "
        f"{format_bytes(short.available_bytes)} can be given"
    )


def pool_name(hardware: Hardware, pool_id: str) -> str:
    """The card that owns the pool; "the host" for what the CPU lives in."""
    if pool_id == hardware.host.id:
        return "the host"
    return next((d.name for d in hardware.devices if d.pool_id == pool_id), pool_id)


def names_of(devices: Sequence[Device]) -> str:
    """ "RTX 3090 + GTX 1070", "4 × RTX 3090"."""
    counts: dict[str, int] = {}
    for device in devices:
        counts[device.name] = counts.get(device.name, 0) + 1
    return " + ".join(name if n == 1 else f"{n} × {name}" for name, n in counts.items())
