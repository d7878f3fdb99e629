"""AMD's gpu_metrics: a struct of the kernel's, told apart by the two numbers in its head. Pure.

Sources: drivers/gpu/drm/amd/include/kgd_pp_interface.h (the layouts, and the units from 1.4 on and
of 2.4), pm/swsmu/inc/pmfw_if/smu14_driver_if_v14_0_0.h (3.0: centi-°C, counters of throttling),
smu13_driver_if_*.h and renoir_ppt.c (2.1 to 2.3: centi-°C). 1.x are cards, 2.x and 3.x APUs.

What is not certain is left alone: 1.0 and 2.0 are not aligned, 1.9 is a list and no struct,
throttle_status of 1.1, 1.2, 1.4, 1.5 and 2.1 has other bits on each chip, and the power of 2.1 to
2.3 is watts or milliwatts by the firmware's version.
"""

import struct
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

_HEAD = struct.Struct("<HBB")  # size, format, content
_ENERGY_J = 2.0**-16  # a tick: 15.259 µJ
# indep_throttle_status, SMU_THROTTLER_* in amdgpu_smu.h: power and current limits, which are how
# cards work at full load, then temperatures and the hot signals of regulators
_POWER_CAP, _THERMAL = range(0, 24), range(32, 48)

Reason: TypeAlias = Literal["thermal", "power_cap"]
_Number: TypeAlias = Literal["H", "I", "Q"]  # 2, 4, 8 bytes


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where each field begins; None: this version has none, or none that is certain."""

    temperature_at: int | None = None
    memory_at: int | None = None  # its temperature
    per_degree: float = 1.0
    power_at: int | None = None
    power_kind: _Number = "H"
    per_watt: float = 1.0
    energy_at: int | None = None
    status_at: int | None = None  # indep_throttle_status
    counters: tuple[tuple[Reason, int], ...] = ()  # that run while it is throttled


def _card(energy_at: int, residencies_at: int | None = None) -> _Layout:
    """1.4 and later: prochot, ppt, socket, regulators, memory are counted one after another."""
    names: tuple[Reason, ...] = ("thermal", "power_cap", "thermal", "thermal", "thermal")
    at = residencies_at
    counters = () if at is None else tuple((name, at + 4 * i) for i, name in enumerate(names))
    return _Layout(4, 6, power_at=10, energy_at=energy_at, counters=counters)


_APU_3 = _Layout(
    temperature_at=4,
    per_degree=100,
    power_at=112,
    power_kind="I",
    per_watt=1000,
    counters=(
        ("thermal", 228),  # prochot
        ("power_cap", 232), ("power_cap", 236), ("power_cap", 240),  # sustained, fast, slow
        ("thermal", 244), ("thermal", 248), ("thermal", 252),  # cores, GPU, the rest
    ),
)  # fmt: skip

_LAYOUTS: Final = {
    (1, 1): _Layout(energy_at=24),
    (1, 2): _Layout(energy_at=24),
    (1, 3): _Layout(energy_at=24, status_at=112),
    (1, 4): _card(energy_at=24),
    (1, 5): _card(energy_at=88),
    (1, 6): _card(energy_at=16, residencies_at=36),
    (1, 7): _card(energy_at=24, residencies_at=44),
    (1, 8): _card(energy_at=24, residencies_at=44),
    (2, 1): _Layout(4, per_degree=100),
    (2, 2): _Layout(4, per_degree=100, status_at=120),
    (2, 3): _Layout(4, per_degree=100, status_at=120),
    (2, 4): _Layout(4, per_degree=100, power_at=40, per_watt=1000, status_at=120),
    (3, 0): _APU_3,
}


@dataclass(frozen=True, slots=True)
class Metrics:
    temperature_c: float | None = None
    memory_c: float | None = None
    power_w: float | None = None
    energy_j: float | None = None  # a counter
    throttle: tuple[Reason, ...] | None = None  # now; None: this version does not tell
    counters: tuple[tuple[Reason, int], ...] = field(default=())  # of cycles spent throttled


def parse(data: bytes) -> Metrics:
    """Nothing but unknown fields where the head is not that of a known struct of this size."""
    if len(data) < _HEAD.size:
        return Metrics()
    size, form, content = _HEAD.unpack_from(data)
    layout = _LAYOUTS.get((form, content))
    if layout is None or size != len(data):
        return Metrics()
    ticks = _number(data, layout.energy_at, "Q")
    bits = _number(data, layout.status_at, "Q")
    told = ((reason, _number(data, at, "I")) for reason, at in layout.counters)
    return Metrics(
        _measured(data, layout.temperature_at, "H", layout.per_degree),
        _measured(data, layout.memory_at, "H", layout.per_degree),
        _measured(data, layout.power_at, layout.power_kind, layout.per_watt),
        ticks * _ENERGY_J if ticks else None,
        None if bits is None else _reasons(bits),
        tuple((reason, count) for reason, count in told if count is not None),
    )


def throttled_since(before: Metrics, now: Metrics) -> tuple[Reason, ...]:
    """The reasons whose counters have run between two readings of one device."""
    if len(before.counters) != len(now.counters):
        return ()
    pairs = zip(before.counters, now.counters, strict=True)
    ran = {reason for (_, earlier), (reason, later) in pairs if later > earlier}
    return tuple(sorted(ran, reverse=True))


def _number(data: bytes, at: int | None, kind: _Number) -> int | None:
    """All bits set: the driver has nothing to put there."""
    width = struct.calcsize(f"<{kind}")
    if at is None or at + width > len(data):
        return None
    (value,) = struct.unpack_from(f"<{kind}", data, at)
    return None if value == (1 << 8 * width) - 1 else int(value)


def _measured(data: bytes, at: int | None, kind: _Number, per_unit: float) -> float | None:
    """Zero degrees and zero watts are fields that nobody filled."""
    value = _number(data, at, kind)
    return value / per_unit if value else None


def _reasons(bits: int) -> tuple[Reason, ...]:
    names: tuple[tuple[Reason, range], ...] = (("thermal", _THERMAL), ("power_cap", _POWER_CAP))
    return tuple(name for name, places in names if any(bits >> place & 1 for place in places))
