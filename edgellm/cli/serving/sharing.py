"""What the models that take turns may have of the machine, as it is now.

A card may be lost, and other programs come and go. So it is asked anew whenever a model is waited
for: what was free at the start, less what stays, and never more than the meter sees free now beside
what the models that are there may take. A meter that is silent, or whose reading is older than the
last change, says nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from edgellm.cli.preparing import machine
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Hardware
from edgellm.selector.memory.budget import pool_budgets
from edgellm.server.served import Served
from edgellm.units import parse_bytes


class Shared:
    """`reserve`: what stays free of each pool, "2GiB". `models` are all that are served."""

    def __init__(
        self, hardware: Hardware, reserve: str | None, samples: Callable[[], Sequence[Sample]]
    ) -> None:
        self._hardware, self._samples = hardware, samples
        self._reserve_bytes = parse_bytes(reserve) if reserve else None
        self.models: Iterable[Served] = ()

    def use(self, hardware: Hardware) -> None:
        """It has changed: a device was lost."""
        self._hardware = hardware

    def budgets(self, taken: Mapping[str, int], since_s: float) -> dict[str, int]:
        """By pool. `taken`: by those that are there; `since_s` (time.monotonic) they are."""
        left = self._hardware
        for one in self.models:
            if one.engine.lease is None:  # it takes no turns
                left = machine.without(left, one.engine.plan)
        seen = self._free_now(since_s)
        pools = tuple(
            replace(pool, free_bytes=_least(pool.free_bytes, seen[pool.id] + taken.get(pool.id, 0)))
            if pool.id in seen
            else pool
            for pool in left.pools
        )
        return pool_budgets(replace(left, pools=pools), self._reserve_bytes)

    def _free_now(self, since_s: float) -> dict[str, int]:
        """Of each pool that is told of by a device of its own."""
        devices = {device.id: device for device in self._hardware.devices}
        found = {}
        for sample in self._samples():
            device = devices.get(sample.device_id)
            if device is None or sample.at_s <= since_s:
                continue
            pool = self._hardware.pool(device.pool_id)
            is_own = pool.kind == "dedicated" or sample.device_id == "cpu"
            if is_own and sample.used_bytes is not None and sample.total_bytes is not None:
                found[pool.id] = max(0, sample.total_bytes - sample.used_bytes)
        return found


def _least(before_bytes: int | None, now_bytes: int) -> int:
    return now_bytes if before_bytes is None else min(before_bytes, now_bytes)
