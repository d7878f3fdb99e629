"""What a plan may draw: the limits of the boards that take part, added up."""

from collections.abc import Iterable

from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Placement


def power_w(hardware: Hardware, device_ids: Iterable[str]) -> float | None:
    """None when one of them says nothing. A processor beside boards counts where it is known."""
    limits = [hardware.device(device_id).board_power_w for device_id in device_ids]
    known = [limit for limit in limits if limit is not None]
    return sum(known) if known and len(known) == len(limits) else None


def placement_power_w(hardware: Hardware, placement: Placement) -> float | None:
    """The CPU counts where it computes layers or experts; its limit is rarely known, and then the
    sum is the boards' alone."""
    *boards, host = placement.shares
    ids = [share.device_id for share in boards]
    knows_cpu = hardware.device(host.device_id).board_power_w is not None
    if host.computes and (knows_cpu or not ids):
        ids.append(host.device_id)
    return power_w(hardware, ids)
