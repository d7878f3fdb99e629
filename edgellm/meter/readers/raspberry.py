"""What only a Raspberry Pi's firmware knows: what slows the chip, and on a Pi 5 the power.

The Pi 5's power controller measures the rails that it makes. `vcgencmd pmic_read_adc` tells amperes
first and volts after them, under one name:

      VDD_CORE_A current(7)=1.42880000A
      VDD_CORE_V volt(15)=0.90659250V

The power is the sum of volts × amperes of all rails. Of what comes in (EXT5V) only the volts are
measured, so what hangs on the 5 V itself (USB, a fan) and the controller's own losses are not in
it. Earlier boards don't know this command. The output's form: recorded on a Pi 5 by its users.

This is a program, so it has a thread of its own; the processor's sample, which is the host
sensor's, takes what stands here.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgellm.meter.readers.sysfs import text
from edgellm.meter.sample import Sample
from edgellm.probe.sources import Output, Sources
from edgellm.probe.vendors import raspberry

RAILS = ("vcgencmd", "pmic_read_adc")

_TIMEOUT_S = 1.0  # it takes milliseconds
_FRESH_S = 6.0
_RAIL = re.compile(r"(\S+)_([AV]) (?:current|volt)\(\d+\)=(\d+\.\d+)([AV])\s")
_REASONS = (
    (0x1, "power_brake"),
    (0x6, "hardware"),
    (0x8, "thermal"),
)  # raspberry.py names the bits


@dataclass(frozen=True, slots=True)
class Board:
    at_s: float = float("-inf")
    power_w: float | None = None
    throttle: tuple[str, ...] | None = None  # None: nobody tells


class FirmwareSensor:
    name = "vcgencmd"
    period_s = 2.0

    def __init__(self, sources: Sources, clock: Callable[[], float] = time.monotonic) -> None:
        self._sources, self._clock = sources, clock
        self._has_rails = True  # until the firmware says that it has not
        self._told = Board()

    @property
    def board(self) -> Board:
        """Nothing is known of it once it is old."""
        told = self._told
        return told if self._clock() - told.at_s < _FRESH_S else Board()

    def read(self) -> tuple[Sample, ...]:
        """Raises OSError with the words of a program that fails."""
        faults: list[str] = []
        throttle = self._throttle(faults)
        self._told = Board(self._clock(), self._power_w(faults), throttle)
        if faults:
            raise OSError("; ".join(faults))
        return ()

    def close(self) -> None:
        pass

    def _power_w(self, faults: list[str]) -> float | None:
        said = self._said(RAILS, faults) if self._has_rails else None
        if said is None:
            return None
        watts = rails_w(said)
        self._has_rails = "not registered" not in said
        if watts is None and self._has_rails:
            faults.append(f"{' '.join(RAILS)}: not understood; it began {said.strip()[:60]!r}")
        return watts

    def _throttle(self, faults: list[str]) -> tuple[str, ...] | None:
        """By a file, where the kernel has one."""
        paths = self._sources.list(raspberry.FILES)
        said = text(self._sources, paths[0]) if paths else None
        bits = raspberry.bits(said or self._said(raspberry.VCGENCMD, faults) or "")
        return None if bits is None else tuple(word for mask, word in _REASONS if bits & mask)

    def _said(self, argv: tuple[str, ...], faults: list[str]) -> str | None:
        answer = self._sources.run(argv, _TIMEOUT_S)
        if isinstance(answer, Output):
            return answer.text + answer.errors
        if answer.kind != "absent":
            faults.append(answer.message)
        return None


def rails_w(said: str) -> float | None:
    """None where an ampere's volts are missing: part of the sum would be a number too low."""
    told: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for rail, kind, number, unit in _RAIL.findall(said):
        if kind == unit:
            told[kind][rail] = float(number)
    amperes, volts = told["A"], told["V"]
    if not amperes or not amperes.keys() <= volts.keys():
        return None
    return sum(value * volts[rail] for rail, value in amperes.items())
