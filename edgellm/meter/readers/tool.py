"""Devices whose vendor has a tool and no library: the probe's parser, asked again and again.

Such a tool takes about a second and starts a process each time, so it is asked every five; one
that gives no answer, more and more seldom.

A device is left out, as one that is lost, when its PCI bus says so, or the tool's answers over two
seconds, in which it is asked again and again. A tool that gives none (it hangs, it is being
replaced) says nothing of its devices: they are there, and have no numbers.
"""

import time
from collections.abc import Callable, Sequence

from edgellm.meter.readers import bus
from edgellm.meter.sample import Sample
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import Device
from edgellm.probe.sources import NoAnswer, Sources
from edgellm.probe.vendors.readings import Reading

_LOST_S = 2.0  # so long all answers have to lack a device
_GIVEN_UP_S = 6.0  # and after that nobody hurries to ask for it again
_MOST_RESTS = 10  # readings without asking, after a tool has kept silent again and again


class ToolSensor:
    period_s = 5.0

    def __init__(
        self,
        name: str,
        ask: Callable[[Evidence], tuple[Reading, ...]],
        sources: Sources,
        devices: Sequence[Device],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._ask, self._sources, self._clock = ask, sources, clock
        self._ids = [device.id for device in devices]
        self._known: dict[str, Sample] = {}  # the last of each that is not given up
        self._on_bus: set[str] = set()  # those that were seen there
        self._dropped: set[str] = set()  # of these, those that no longer are
        self._lacks_from_s: float | None = None  # when it was asked what lacks a known device
        self._n_silences = self._n_rests = 0

    @property
    def is_in_doubt(self) -> bool:
        """Whether it wants to be read again in a second."""
        return self._lacks_from_s is not None

    def read(self) -> tuple[Sample, ...]:
        """Nothing where the tool is not installed. Raises OSError with its own words when it knows
        of no device."""
        if self._look_at_bus():  # told at once: over a card that has dropped, a tool may hang
            return tuple(self._known.values())
        if self._n_rests:
            self._n_rests -= 1
            return self._without_numbers()
        asked_s = self._clock()
        told = self._answer()
        return self._silent() if told is None else self._heard(told, asked_s)

    def close(self) -> None:
        pass

    def _look_at_bus(self) -> bool:
        """Whether one has dropped off it since the last look. Then it is given up."""
        here = {id_ for id_ in self._ids if bus.is_there(self._sources, id_)}
        before, self._dropped = self._dropped, self._on_bus - here
        self._on_bus |= here
        for id_ in self._dropped:
            self._known.pop(id_, None)
        return bool(self._dropped - before)

    def _heard(self, told: dict[str, Sample], asked_s: float) -> tuple[Sample, ...]:
        self._n_silences = 0
        lacking = {id_: one for id_, one in self._known.items() if id_ not in told}
        self._known |= told
        if not lacking:
            self._lacks_from_s = None
            return tuple(told.values())
        if self._lacks_from_s is None:
            self._lacks_from_s = asked_s
        lacked_s = self._clock() - self._lacks_from_s
        if lacked_s >= _GIVEN_UP_S:
            self._known, self._lacks_from_s = dict(told), None
        held = lacking if lacked_s < _LOST_S else {}
        return (*told.values(), *held.values())

    def _silent(self) -> tuple[Sample, ...]:
        self._lacks_from_s = None
        self._n_rests = min(2**self._n_silences - 1, _MOST_RESTS)
        self._n_silences += 1
        return self._without_numbers()

    def _without_numbers(self) -> tuple[Sample, ...]:
        at_s = self._clock()
        return tuple(Sample(id_, at_s) for id_ in self._known)

    def _answer(self) -> dict[str, Sample] | None:
        """None: it gave none. One that names no device is an answer."""
        evidence = Evidence(self._sources)
        readings = self._ask(evidence)
        if not readings and not self._known and evidence.faults:
            raise OSError("; ".join(fault.message for fault in evidence.faults))
        commands = [said for said in evidence.answers if not said.source.startswith("/")]
        if not readings and any(isinstance(said.answer, NoAnswer) for said in commands):
            return None
        at_s = self._clock()
        return {
            device_id: _sample(device_id, at_s, reading)
            for device_id, reading in zip(self._matched(readings), readings, strict=True)
            if device_id is not None and device_id not in self._dropped
        }

    def _matched(self, readings: Sequence[Reading]) -> list[str | None]:
        """By address; chips that share one, and cards that tell none, in the order of the probe,
        which was that of the same tool."""
        left = list(self._ids)
        found: list[str | None] = []
        for reading in readings:
            exact = [id_ for id_ in left if id_.partition("/")[0] == reading.address]
            chosen = exact[0] if exact else None
            if chosen is None and reading.address is None and len(readings) == len(self._ids):
                chosen = left[0]
            if chosen is not None:
                left.remove(chosen)
            found.append(chosen)
        return found


def _sample(device_id: str, at_s: float, said: Reading) -> Sample:
    return Sample(
        device_id,
        at_s,
        used_bytes=said.used_bytes,
        total_bytes=said.total_bytes,
        busy_ratio=said.busy_ratio,
        temperature_c=said.temperature_c,
        power_w=said.power_w,
        power_limit_w=said.power_limit_w,
        clock_hz=said.clock_hz,
        memory_c=said.memory_temperature_c,
    )
