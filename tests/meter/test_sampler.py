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


def until(condition, limit_s=3.0):
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

    assert stopped_s < 3.0


def test_a_sensor_that_fails_is_named_and_asked_again():
    sensor = FakeSensor("nvml", raises_at=2)
    sampler = Sampler((sensor,), period_s=0.005)
    sampler.start()

    until(lambda: sensor.n_read >= 3)
    sampler.stop()

    [fault] = sampler.faults
    assert (fault.source, fault.message) == ("nvml", "OSError: the driver is gone")


def test_one_failure_costs_no_more_than_its_own_second():
    """A single hiccup of a driver must not leave a device without numbers until it seems lost."""
    sensor = FakeSensor("nvml", raises_at=2, raises_until=2)
    sampler = Sampler((sensor,), period_s=0.1)
    sampler.start()
    until(lambda: sensor.n_read >= 2)
    began_s = time.monotonic()
    until(lambda: sensor.n_read >= 3)
    sampler.stop()

    assert time.monotonic() - began_s < 0.5
    assert sampler.faults == ()
    assert len(sampler.latest()) == 1


def test_who_goes_on_failing_is_asked_more_and_more_seldom():
    sensor = FakeSensor("nvml", raises_at=1)
    sampler = Sampler((sensor,), period_s=0.02)
    sampler.start()
    time.sleep(0.5)
    sampler.stop()

    assert 4 <= sensor.n_read <= 7, "after 0, 1, 3, 7, 15 and 25 periods, and not after each of 25"


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


def test_a_slow_sensor_that_is_in_doubt_is_read_at_the_samplers_pace_until_it_is_not():
    sensor = FakeSensor("npu-smi")
    sensor.period_s = 30.0
    sensor.is_in_doubt = True
    sampler = Sampler((sensor,), period_s=0.01)
    sampler.start()
    until(lambda: sensor.n_read >= 4)
    sensor.is_in_doubt = False
    time.sleep(0.05)  # one that was read in doubt may end
    n_read = sensor.n_read
    time.sleep(0.1)
    sampler.stop()

    assert sensor.n_read == n_read
