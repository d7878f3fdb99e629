"""Reads every sensor once a second, each in a thread of its own: one that hangs stops no other.

A sensor that has to start a program says its own, slower pace (`period_s`), and when it wants to be
read at ours all the same (`is_in_doubt`). Whoever asks gets what
is there and never waits. A reading that has grown old is left out, so a sensor that hangs turns
into "unknown", not into a number that no longer changes.
"""

import threading
import time
from collections.abc import Sequence
from typing import Protocol

from edgellm.meter.plausible import plausible
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import SourceFault

_STALE_PERIODS = 5
_STOP_S = 0.5  # shared by all threads; one that hangs is a daemon and left behind
_MOST_FAULT_PERIODS = 10  # a sensor that goes on raising is asked more and more seldom


class Sensor(Protocol):
    """Read in one thread only; opened by the first `read`."""

    name: str

    def read(self) -> tuple[Sample, ...]: ...
    def close(self) -> None: ...


class Sampler:
    def __init__(self, sensors: Sequence[Sensor], period_s: float = 1.0) -> None:
        self._sensors = tuple(sensors)
        self._period_s = period_s
        self._latest: dict[str, tuple[Sample, ...]] = {}
        self._faults: dict[str, SourceFault] = {}
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for sensor in self._sensors:
            thread = threading.Thread(
                target=self._watch, args=(sensor,), name=f"meter-{sensor.name}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self._over.set()
        stop_s = time.monotonic() + _STOP_S
        for thread in self._threads:
            thread.join(max(0.0, stop_s - time.monotonic()))

    def latest(self) -> tuple[Sample, ...]:
        """The newest of each device, by sensor; none that is older than a few periods."""
        now_s = time.monotonic()
        return tuple(
            sample
            for sensor in self._sensors
            for sample in self._latest.get(sensor.name, ())
            if sample.at_s >= now_s - _STALE_PERIODS * self._pace_s(sensor)
        )

    def _pace_s(self, sensor: Sensor) -> float:
        """Its own, if it has one that is slower than ours."""
        return max(self._period_s, getattr(sensor, "period_s", 0.0))

    @property
    def faults(self) -> tuple[SourceFault, ...]:
        """Sensors that failed at their last reading."""
        return tuple(self._faults.values())

    def _watch(self, sensor: Sensor) -> None:
        next_s, n_faults = time.monotonic(), 0
        while not self._over.is_set():
            try:
                self._latest[sensor.name] = tuple(map(plausible, sensor.read()))
                self._faults.pop(sensor.name, None)
                n_faults = 0
            except Exception as error:  # noqa: BLE001 - a sensor's failure costs its numbers only
                self._faults[sensor.name] = SourceFault(
                    sensor.name, f"{type(error).__name__}: {error}"
                )
                n_faults += 1
            # From the plan, not from now: the pace is kept; what was missed is not made up for.
            wait_periods = min(2 ** max(0, n_faults - 1), _MOST_FAULT_PERIODS)
            hurries = not n_faults and getattr(sensor, "is_in_doubt", False)
            pace_s = self._period_s if hurries else self._pace_s(sensor)
            next_s = max(next_s + wait_periods * pace_s, time.monotonic())
            self._over.wait(next_s - time.monotonic())
        sensor.close()
