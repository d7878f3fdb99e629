import random
from dataclasses import replace

import pytest

from edgellm.meter.health import OK, Vitals, Watch
from edgellm.units import GIB

GPU = "0000:01:00.0"
WELL = Vitals(
    at_s=0.0,
    expected_tok_s_p10=30.0,
    measured_tok_s=34.0,
    planned_devices=(GPU,),
    present_devices=(GPU,),
    planned_bytes=7 * GIB,
    held_bytes=7 * GIB,
    used_bytes=8 * GIB,
    lanes=((GPU, 16, 16),),
    swapped_in_bytes_s=0.0,
    host_free_bytes=8 * GIB,
    host_total_bytes=32 * GIB,
)
INJECTED = [
    ({"present_devices": ()}, "lost_device", "0000:01:00.0 no longer answers"),
    ({"held_bytes": GIB}, "cpu_fallback", "1.0 GiB of the 7.0 GiB"),
    ({"lanes": ((GPU, 4, 16),)}, "narrow_link", "4 PCIe lanes, and had 16"),
    ({"measured_tok_s": 9.0, "throttle": ("thermal",)}, "thermal", "9.0 tok/s measured"),
    ({"measured_tok_s": 9.0, "throttle": ("hardware",)}, "thermal", "too hot"),
    ({"measured_tok_s": 9.0, "throttle": ("power_brake",)}, "power", "lack of power"),
    ({"measured_tok_s": 9.0, "throttle": ("power_cap",)}, "power", "lack of power"),
    ({"measured_tok_s": 9.0, "used_bytes": 3 * GIB}, "memory_spill", "3.0 GiB of the 7.0 GiB"),
    ({"measured_tok_s": 9.0, "swapped_in_bytes_s": 5e7}, "swapping", "from swap"),
    ({"measured_tok_s": 9.0, "host_free_bytes": GIB // 4}, "memory_pressure", "256.0 MiB of 32.0"),
    (
        {"measured_tok_s": 9.0, "others_busy_ratio": 0.5},
        "contention",
        "the CPU is busy with other programs (50% of it): 9.0 tok/s measured",
    ),
    (
        {"measured_tok_s": 0.0, "others_busy_ratio": 1.0},
        "contention",
        "with other programs (100% of it): next to nothing measured, at least 30.0 tok/s expected",
    ),
    ({"measured_tok_s": 9.0, "others_busy_ratio": 0.1}, "slow", "9.0 tok/s measured"),
    ({"measured_tok_s": 0.04}, "slow", "next to nothing measured"),
    ({"measured_tok_s": 9.0}, "slow", "at least 30.0 tok/s expected"),
]


def noisy(chance, vitals):
    """What a healthy second may look like on a busy machine."""
    return replace(
        vitals,
        measured_tok_s=None if chance.random() < 0.2 else 34 * chance.gauss(1, 0.08),
        present_devices=() if chance.random() < 0.01 else vitals.present_devices,
        throttle=(("power_cap",) if chance.random() < 0.7 else ())
        + (("thermal",) if chance.random() < 0.02 else ()),
        lanes=((GPU, 8, 16),) if chance.random() < 0.01 else vitals.lanes,
        swapped_in_bytes_s=4e6 if chance.random() < 0.05 else 0.0,
        host_free_bytes=GIB // 2 if chance.random() < 0.05 else 8 * GIB,
    )


@pytest.mark.parametrize("seed", range(5))
def test_ten_minutes_of_health_raise_no_alarm(seed):
    chance, watch = random.Random(seed), Watch()
    for second in range(600):
        at_s = second + chance.uniform(-0.2, 0.2)
        assert watch.look(replace(noisy(chance, WELL), at_s=at_s)).state == "ok", second


@pytest.mark.parametrize(("change", "cause", "words"), INJECTED)
def test_each_cause_is_named_within_ten_seconds_and_gone_ten_after_it_ended(change, cause, words):
    watch = Watch()
    for second in range(60):
        assert watch.look(replace(WELL, at_s=float(second))).finding is None
    named_s = None
    for second in range(60, 90):
        health = watch.look(replace(WELL, at_s=float(second), **change))
        if health.finding and health.finding.cause == cause and named_s is None:
            named_s = second - 60
    assert named_s is not None
    assert named_s <= 10
    assert health.finding.cause == cause
    assert words in health.finding.message
    assert health.state == ("lost" if cause == "lost_device" else "degraded")
    for second in range(90, 101):
        health = watch.look(replace(WELL, at_s=float(second)))
    assert health.state == "ok"


@pytest.mark.parametrize(
    "change",
    [
        {"measured_tok_s": 25.0},  # a little under the p10: a busy second
        {"measured_tok_s": None},  # nothing runs
        {"expected_tok_s_p10": None, "measured_tok_s": 0.5},  # nothing was promised
        {"throttle": ("power_cap",)},  # a card at full load
        {"throttle": ("thermal",)},  # warm, and as fast as promised
        {"host_free_bytes": 0},  # full of file cache, and as fast as promised
        {"others_busy_ratio": 0.9},  # busy, and as fast as promised
        {"host_free_bytes": None, "host_total_bytes": None, "swapped_in_bytes_s": None},
        {"planned_devices": (), "present_devices": ()},
        {"planned_bytes": None, "held_bytes": None, "used_bytes": None},
        {"lanes": ()},
    ],
)
def test_what_is_normal_or_unknown_is_no_alarm(change):
    watch = Watch()
    for second in range(30):
        health = watch.look(replace(WELL, at_s=float(second), **change))
    assert health.state == "ok"


def test_a_lost_device_explains_the_slowness():
    watch = Watch()
    for second in range(20):
        change = {"present_devices": (), "measured_tok_s": 2.0, "throttle": ("thermal",)}
        health = watch.look(replace(WELL, at_s=float(second), **change))
    assert health.finding.cause == "lost_device"


@pytest.mark.parametrize("others", [None, 0.7])
def test_of_a_model_that_idles_nothing_is_said_after_eight_seconds(others):
    watch = Watch()
    busy = replace(WELL, measured_tok_s=9.0, others_busy_ratio=others)
    for second in range(20):
        slow = watch.look(replace(busy, at_s=float(second)))
    # the last speeds speak for three seconds more
    idle = [watch.look(replace(busy, at_s=20.0 + n, measured_tok_s=None)) for n in range(10)]
    assert slow.state == "degraded"
    assert [one.state for one in idle[8:]] == ["ok", "ok"]


def test_since_when_is_told():
    watch = Watch()
    for second in range(20):
        health = watch.look(replace(WELL, at_s=100.0 + second, present_devices=()))
    assert health.since_s == 102.0


def test_a_cause_that_has_just_gone_explains_the_average_that_it_is_still_in():
    """As two cores were shared with a compiler until it was done: both the CPU's load and the
    speed are means of some seconds, and the first falls sooner."""
    contended, recovering = [(4.5, 0.51)] * 12, [(6.5, 0.48), (17.0, 0.37), (28.0, 0.25)]
    well = [(39.0, 0.13)] * 2 + [(72.0, 0.02)] * 15
    watch, causes = Watch(), []
    for second, (tok_s, others) in enumerate(contended + recovering + well):
        change = {"measured_tok_s": tok_s, "others_busy_ratio": others, "expected_tok_s_p10": 73.0}
        causes.append(watch.look(replace(WELL, at_s=float(second), **change)).cause)
    assert list(dict.fromkeys(causes)) == [None, "contention"]
    assert causes[-1] is None, "all is well in the end"


def test_a_slowness_that_outlasts_its_cause_is_nobodys_in_the_end():
    watch = Watch()
    slow = replace(WELL, measured_tok_s=9.0)
    for second in range(10):
        watch.look(replace(slow, at_s=float(second), others_busy_ratio=0.5))
    rest = [watch.look(replace(slow, at_s=10.0 + n, others_busy_ratio=0.0)) for n in range(20)]
    assert [one.cause for one in rest[:4]] == ["contention"] * 4
    assert rest[-1].cause == "slow"
    assert all(one.state == "degraded" for one in rest), "it was slow all the time"


def test_one_moment_of_health_is_told_as_it_is():
    assert Watch().look(WELL) == OK


def test_a_device_that_is_missed_every_other_second_is_not_lost():
    watch = Watch()
    for second in range(60):
        here = (GPU,) if second % 2 else ()
        assert watch.look(replace(WELL, at_s=float(second), present_devices=here)) == OK


def test_a_lost_device_is_named_at_the_third_look_that_misses_it():
    watch = Watch()
    states = [watch.look(replace(WELL, at_s=0.9 * n, present_devices=())).state for n in range(4)]
    assert states == ["ok", "ok", "lost", "lost"]
