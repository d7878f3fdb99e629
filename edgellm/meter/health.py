"""Is it as fast as it was said to be, and if not, why. Pure.

    lost        a device that the model is on no longer answers
    degraded    a cause that can be named, or only that it is slow
    ok          else; also where nobody can tell

A cause that a sensor names goes before one that is inferred. Slowness is only believed after the
plan's own doubt (its p10) is taken off, and nothing is believed that a single second says: a cause
has to last, and has to be gone for a while before all is well again.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from edgellm.units import format_bytes, format_rate

State = Literal["ok", "degraded", "lost"]
Cause = Literal[  # the worst, or the most telling, first
    "lost_device", "cpu_fallback", "narrow_link", "thermal", "power", "memory_spill", "swapping",
    "memory_pressure", "contention", "slow",
]  # fmt: skip

_WORST_FIRST: tuple[Cause, ...] = get_args(Cause)

_SLOW_RATIO = 0.8  # of the p10: below this it is not the noise of a busy second
_LEAST_FREE_RATIO = 0.03  # of the host's memory; below it pages are being thrown out
_SPILLED_RATIO = 0.8  # a device that holds less of what llama.cpp gave it: the rest has moved
_SWAP_BYTES_S = 1 << 20  # pages that come back, and are waited for
_CONTENDED_RATIO = 0.2  # of all cores, that other programs take
_HEAT, _POWER = ("thermal", "hardware"), ("power_brake", "power_cap")

_LASTS_S = 3.0  # so long a cause must be there, look after look, before it is named
_BLINK_S = 1.6  # a look that is late, or that sees nothing, is no gap
# Who tells of a lost device has looked twice himself: three looks do, none of them without it.
_LOST_LASTS_S, _LOST_BLINK_S = 1.8, 0.0
_GONE_S = 5.0  # and so long be gone before it is forgotten
_N_SPEEDS = 4  # looks at the speed that are averaged,
_RECENT_S, _OLD_S = 3.0, 10.0  # the last of them this recent, the first no older
_LEAST_TOK_S = 0.05  # what is shown as a number: "0.0 tok/s" would say that it stands still


@dataclass(frozen=True, slots=True)
class Vitals:
    """What is known of one running model at one moment. None: not known, and no reason to worry."""

    at_s: float
    expected_tok_s_p10: float | None = None  # for the streams and their depth at this moment
    measured_tok_s: float | None = None  # None as well unless the whole interval was decoding
    planned_devices: tuple[str, ...] = ()
    present_devices: tuple[str, ...] = ()  # of those, the ones that still answer
    missing_device: str | None = None  # the worker's words, when it finds one of them no more
    planned_bytes: int | None = None  # weights that accelerators were to hold
    held_bytes: int | None = None  # of these, what llama.cpp says that they hold
    used_bytes: int | None = None  # on those devices, by anyone
    throttle: tuple[str, ...] = ()
    lanes: tuple[tuple[str, int, int], ...] = ()  # busy devices: id, PCIe lanes now, at most so far
    swapped_in_bytes_s: float | None = None  # by the whole machine
    host_free_bytes: int | None = None
    host_total_bytes: int | None = None
    others_busy_ratio: float | None = None  # of all cores, by others, where the CPU computes


@dataclass(frozen=True, slots=True)
class Finding:
    cause: Cause
    message: str


@dataclass(frozen=True, slots=True)
class Health:
    state: State = "ok"
    finding: Finding | None = None
    since_s: float = 0.0

    @property
    def cause(self) -> Cause | None:
        return self.finding.cause if self.finding else None

    def __str__(self) -> str:
        return (
            f"{self.state} ({self.finding.cause}): {self.finding.message}" if self.finding else "ok"
        )


OK = Health()


@dataclass(slots=True)
class _Sighting:
    finding: Finding
    first_s: float
    last_s: float
    is_named: bool = False


@dataclass(frozen=True, slots=True)
class _Speed:
    at_s: float
    measured_tok_s: float
    expected_tok_s: float
    reasons: tuple[Finding, ...]  # that were there when it was measured


@dataclass(slots=True)
class Watch:
    """One model's. `look` once a second."""

    health: Health = OK
    _speeds: deque[_Speed] = field(default_factory=lambda: deque(maxlen=_N_SPEEDS))
    _sightings: dict[Cause, _Sighting] = field(default_factory=dict)

    def look(self, vitals: Vitals) -> Health:
        now_s = vitals.at_s
        for finding in (*_hardware(vitals), *self._slowed(vitals)):
            sighting = self._sightings.setdefault(finding.cause, _Sighting(finding, now_s, now_s))
            sighting.finding, sighting.last_s = finding, now_s
            sighting.is_named |= now_s - sighting.first_s >= _lasts_s(finding.cause)
        self._forget(now_s)
        named = [one.finding for one in self._sightings.values() if one.is_named]
        worst = min(named, key=lambda finding: _WORST_FIRST.index(finding.cause), default=None)
        new = Health(_state(worst), worst, now_s)
        same = new.cause == self.health.cause
        self.health = replace(new, since_s=self.health.since_s) if same else new
        return self.health

    def _forget(self, now_s: float) -> None:
        """Of a model that idles nothing can be said, and so no slowness either."""
        for cause, one in list(self._sightings.items()):
            if now_s - one.last_s > (_GONE_S if one.is_named else _blink_s(cause)):
                del self._sightings[cause]

    def _slowed(self, vitals: Vitals) -> Iterator[Finding]:
        """Over the last looks that saw nothing but decoding: what held any of them back. Nobody
        knows why only where nothing did: a cause that has just gone explains the average yet."""
        reasons = tuple(_reasons(vitals))
        if vitals.expected_tok_s_p10 is not None and vitals.measured_tok_s is not None:
            speed = _Speed(vitals.at_s, vitals.measured_tok_s, vitals.expected_tok_s_p10, reasons)
            self._speeds.append(speed)
        while self._speeds and vitals.at_s - self._speeds[0].at_s > _OLD_S:
            self._speeds.popleft()
        if len(self._speeds) < _N_SPEEDS or vitals.at_s - self._speeds[-1].at_s > _RECENT_S:
            return
        measured = sum(speed.measured_tok_s for speed in self._speeds) / _N_SPEEDS
        expected = sum(speed.expected_tok_s for speed in self._speeds) / _N_SPEEDS
        if measured >= _SLOW_RATIO * expected:
            return
        told = format_rate(measured) if measured >= _LEAST_TOK_S else "next to nothing"
        words = f"{told} measured, at least {format_rate(expected)} expected"
        seen = [reason for speed in self._speeds for reason in speed.reasons]
        newest = {reason.cause: reason for reason in (*seen, *reasons)}
        for reason in newest.values():
            yield Finding(reason.cause, f"{reason.message}: {words}")
        if not newest:
            yield Finding("slow", words)


def _hardware(vitals: Vitals) -> Iterator[Finding]:
    """What is wrong whatever the speed."""
    lost = [device for device in vitals.planned_devices if device not in vitals.present_devices]
    if lost:
        yield Finding("lost_device", f"{', '.join(lost)} no longer answers")
    elif vitals.missing_device:
        yield Finding("lost_device", vitals.missing_device)
    planned, held = vitals.planned_bytes, vitals.held_bytes
    if planned and held is not None and held < planned / 2:
        yield Finding(
            "cpu_fallback",
            f"{format_bytes(held)} of the {format_bytes(planned)} planned for the GPU are on it",
        )
    for device, now, most in vitals.lanes:
        if now < most:
            yield Finding("narrow_link", f"{device} runs on {now} PCIe lanes, and had {most}")


def _reasons(vitals: Vitals) -> Iterator[Finding]:
    """Why it would be slow at this moment, if it is. A power cap at full load is how cards work."""
    if any(reason in vitals.throttle for reason in _HEAT):
        yield Finding("thermal", "too hot to run at speed")
    if any(reason in vitals.throttle for reason in _POWER):
        yield Finding("power", "held back for lack of power")
    held, used = vitals.held_bytes, vitals.used_bytes
    if held and used is not None and used < _SPILLED_RATIO * held:
        yield Finding(
            "memory_spill",
            f"the GPU holds {format_bytes(used)} of the {format_bytes(held)} it was given, "
            "the rest has moved to the host",
        )
    if (vitals.swapped_in_bytes_s or 0) > _SWAP_BYTES_S:
        rate = format_bytes(int(vitals.swapped_in_bytes_s or 0))
        yield Finding("swapping", f"{rate} a second come back from swap")
    free, total = vitals.host_free_bytes, vitals.host_total_bytes
    if free is not None and total and free / total < _LEAST_FREE_RATIO:
        words = f"only {format_bytes(free)} of {format_bytes(total)} memory is free"
        yield Finding("memory_pressure", words)
    others = vitals.others_busy_ratio
    if others is not None and others >= _CONTENDED_RATIO:
        yield Finding("contention", f"the CPU is busy with other programs ({others:.0%} of it)")


def _lasts_s(cause: Cause) -> float:
    return _LOST_LASTS_S if cause == "lost_device" else _LASTS_S


def _blink_s(cause: Cause) -> float:
    return _LOST_BLINK_S if cause == "lost_device" else _BLINK_S


def _state(worst: Finding | None) -> State:
    if worst is None:
        return "ok"
    return "lost" if worst.cause == "lost_device" else "degraded"
