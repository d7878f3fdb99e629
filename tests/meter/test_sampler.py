import threading
import time

from edgellm.meter.sample import Sample
from edgellm.meter.sampler import Sampler


class FakeSensor:
    """Answers with its number of readings as watts; may hang or raise from the n-th on."""

    def __init__(self, name, hangs_at=None, raises_at=None, raises_until=None):
        self.name = name
        self.n_read = 0
        self.closed_in = None
        self.read_in = set()
        self.released = threading.Event()
        self._hangs_at, self._raises_at = hangs_at, raises_at
        self._raises_until = raises_until or 10**9

    def read(self):
        assert self.closed_in is None, "a closed sensor was read"
        self.read_in.add(threading.current_thread().name)
        self.n_read += 1
        if self.n_read == self._hangs_at:
            self.released.wait(30)
        if self._raises_at is not None and self._raises_at <= self.n_read <= self._raises_until:
            raise OSError("the driver is gone")
        return (Sample(self.name, time.monotonic(), power_w=float(self.n_read)),)

    def close(self):
        self.closed_in = threading.current_thread().name


def until(condition, limit_s=60.0):
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.005)


def test_the_newest_of_each_sensor_is_told():
    one, two = FakeSensor("one"), FakeSensor("two")
    sampler = Sampler((one, two), period_s=0.05)
    assert sampler.latest() == ()
    sampler.start()

    until(lambda: [s.device_id for s in sampler.latest() if s.power_w >= 2] == ["one", "two"])
    sampler.stop()


def test_a_sensor_that_hangs_stops_no_other_and_becomes_unknown():
    stuck, free = FakeSensor("stuck", hangs_at=2), FakeSensor("free")
    sampler = Sampler((stuck, free), period_s=0.05)
    sampler.start()

    # the last number of a sensor that hangs is not shown for ever
    until(lambda: [sample.device_id for sample in sampler.latest()] == ["free"])
    n_read = free.n_read
    until(lambda: free.n_read >= n_read + 3)
    began_s = time.monotonic()
    sampler.stop()
    stopped_s = time.monotonic() - began_s
    stuck.released.set()

    assert stopped_s < 10.0, "it hangs for thirty"


def test_a_sensor_that_fails_is_named_and_asked_again():
    sensor = FakeSensor("nvml", raises_at=2)
    sampler = Sampler((sensor,), period_s=0.005)
    sampler.start()

    until(lambda: sensor.n_read >= 3)
    sampler.stop()

    [fault] = sampler.faults
    assert (fault.source, fault.message) == ("nvml", "OSError: the driver is gone")


class Pauses:
    """In place of the event that ends a sampler: its waits are noted and over at once, and after
    so many of them it is set. Its time passes in them only."""

    def __init__(self, n_waits):
        self.n_waits, self.waits_s = n_waits, []

    def monotonic(self):
        return sum(self.waits_s)

    def is_set(self):
        return len(self.waits_s) >= self.n_waits

    def wait(self, seconds):
        self.waits_s.append(seconds)


def pauses_between(sensor, n_waits, monkeypatch):
    """Those of a sampler that reads once a second, and the sampler."""
    pauses, sampler = Pauses(n_waits), Sampler((sensor,), period_s=1.0)
    monkeypatch.setattr("edgellm.meter.sampler.time", pauses)
    sampler._over = pauses
    sampler._watch(sensor)
    return pauses.waits_s, sampler


def test_one_failure_costs_no_more_than_its_own_second(monkeypatch):
    """A single hiccup of a driver must not leave a device without numbers until it seems lost."""
    sensor = FakeSensor("nvml", raises_at=2, raises_until=2)
    waits_s, sampler = pauses_between(sensor, 4, monkeypatch)

    assert waits_s == [1, 1, 1, 1]
    assert sampler.faults == ()


def test_who_goes_on_failing_is_asked_more_and_more_seldom(monkeypatch):
    waits_s, _ = pauses_between(FakeSensor("nvml", raises_at=1), 7, monkeypatch)

    assert waits_s == [1, 2, 4, 8, 10, 10, 10]


def test_a_sensor_lives_and_ends_in_one_thread_of_its_own():
    sensor = FakeSensor("host")
    sampler = Sampler((sensor,), period_s=0.01)
    sampler.start()
    until(lambda: sensor.n_read >= 2)
    sampler.stop()
    until(lambda: sensor.closed_in is not None)

    assert sensor.read_in == {"meter-host"}
    assert sensor.closed_in == "meter-host"


def test_the_pace_is_kept():
    sensor = FakeSensor("host")
    sampler = Sampler((sensor,), period_s=0.05)
    began_s = time.monotonic()
    sampler.start()
    until(lambda: sensor.n_read >= 9)
    elapsed_s = time.monotonic() - began_s
    sampler.stop()

    assert elapsed_s > 0.35, "not faster than once a period"


def test_a_slow_sensor_that_is_in_doubt_is_read_at_the_samplers_pace_until_it_is_not(monkeypatch):
    class Doubtful(FakeSensor):
        period_s = 30.0

        @property
        def is_in_doubt(self):
            return 2 <= self.n_read <= 4

    waits_s, _ = pauses_between(Doubtful("npu-smi"), 6, monkeypatch)

    assert waits_s == [30, 1, 1, 1, 30, 30]
