"""What a placement is made for: devices with the room that each may be filled to."""

from collections.abc import Mapping, Sequence
from dataclasses import field

from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Backend, Device, Hardware
from edgellm.selector.memory.budget import Budgets, device_limit_bytes
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.plan import Placement, Share
from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed_profile import SpeedProfile
from edgellm.values import frozen

Kind = tuple[str, Backend, float]  # devices of one kind compute and read as fast


@frozen
class Machine:
    """`margins`: by device, what llama.cpp was found to need beyond the arithmetic."""

    hardware: Hardware
    budgets: Budgets
    speed: SpeedProfile
    margins: Mapping[str, int] = field(default_factory=dict)
    cpu: Device = field(init=False)
    host_id: str = field(init=False)  # the pool that the CPU lives in
    _facts: dict[str, "_Facts"] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        facts = {device.id: self._facts_of(device) for device in self.hardware.devices}
        object.__setattr__(self, "cpu", self.hardware.device("cpu"))
        object.__setattr__(self, "host_id", self.hardware.host.id)
        object.__setattr__(self, "_facts", facts)

    def room_bytes(self, device: Device) -> int:
        return self._facts[device.id].room_bytes

    def overhead_bytes(self, device: Device) -> int:
        return self._facts[device.id].overhead_bytes

    def bandwidth_bytes_s(self, device: Device) -> float:
        return self._facts[device.id].bandwidth_bytes_s

    def kind(self, device: Device) -> Kind:
        return device.name, device.backend, self.bandwidth_bytes_s(device)

    def are_alike(self, devices: Sequence[Device]) -> bool:
        """Of one kind, so that it is all the same which of them has what."""
        return len(set(map(self.kind, devices))) == 1

    def setup(self, spec: ModelSpec, shape: ContextShape, placement: Placement) -> Setup:
        """What the speed of a model that is placed here depends on."""
        return Setup(spec, shape, placement, self.hardware, self.speed)

    def with_margins(self, more: Mapping[str, int]) -> "Machine":
        """`more` on top of the margins that are there."""
        ids = {*self.margins, *more}
        margins = {key: self.margins.get(key, 0) + more.get(key, 0) for key in ids}
        return Machine(self.hardware, self.budgets, self.speed, margins)

    def without_margins(self) -> "Machine":
        return Machine(self.hardware, self.budgets, self.speed)

    def shortfall(self, shares: Sequence[Share], disk_bytes: int = 0) -> "Shortfall | None":
        """What these shares would overfill; the worst of it. `disk_bytes` of the host's need no
        memory."""
        over = [
            Shortfall(pool_id, needed, available, tuple(shares))
            for pool_id, needed, available in self._fillings(shares, disk_bytes)
            if needed > available
        ]
        return max(over, key=lambda short: short.missing_bytes, default=None)

    def host_missing_bytes(self, shares: Sequence[Share]) -> int:
        """What the pool that the CPU lives in lacks; 0 when it holds all."""
        return max(
            needed - available
            for pool_id, needed, available in (*self._fillings(shares, 0), (self.host_id, 0, 0))
            if pool_id == self.host_id
        )

    def _facts_of(self, device: Device) -> "_Facts":
        family = self.speed.family(device)
        limit = device_limit_bytes(self.hardware, device, self.budgets)
        known = self.hardware.pool(device.pool_id).bandwidth_bytes_s
        return _Facts(
            room_bytes=limit - self.margins.get(device.id, 0),
            overhead_bytes=self.speed.overhead_bytes(device),
            bandwidth_bytes_s=known or family.unknown_bandwidth_bytes_s,
        )

    def _fillings(self, shares: Sequence[Share], disk_bytes: int) -> list[tuple[str, int, int]]:
        """(pool, needed, available) of each device, and of each pool over all that live in it."""
        rows = [
            (share.pool_id, share.total_bytes, self._facts[share.device_id].room_bytes)
            for share in shares[:-1]
        ]
        for pool_id, budget in self.budgets.items():
            inside = [share for share in shares if share.pool_id == pool_id]
            margin = sum(self.margins.get(share.device_id, 0) for share in inside)
            needed = sum(share.total_bytes for share in inside)
            needed -= disk_bytes if pool_id == self.host_id else 0
            rows.append((pool_id, needed, budget - margin))
        return rows


@frozen
class _Facts:
    """Of one device, looked up once: the search asks thousands of times."""

    room_bytes: int
    overhead_bytes: int
    bandwidth_bytes_s: float


@frozen
class Shortfall:
    """What a placement would overfill: a pool, or what one device may take of it."""

    pool_id: str
    needed_bytes: int
    available_bytes: int
    shares: tuple[Share, ...]  # of that placement, all of them

    @property
    def missing_bytes(self) -> int:
        return self.needed_bytes - self.available_bytes
