from dataclasses import replace

import pytest

from edgellm.meter.health import Degraded, Ok, Vitals, assess
from edgellm.units import GIB

WELL = Vitals(
    expected_tok_s_p10=30.0,
    measured_tok_s=34.0,
    planned_devices=("0000:01:00.0",),
    present_devices=("0000:01:00.0",),
    layers_planned_on_accelerators=33,
    layers_on_accelerators=33,
    host_free_bytes=8 * GIB,
    host_total_bytes=32 * GIB,
)


def test_as_fast_as_said_is_ok():
    assert assess(WELL) == Ok()


@pytest.mark.parametrize(
    ("change", "cause", "words"),
    [
        ({"present_devices": ()}, "lost_device", "0000:01:00.0 no longer answers"),
        ({"layers_on_accelerators": 20}, "cpu_fallback", "20 of the 33 layers"),
        ({"measured_tok_s": 9.0, "throttle": ("thermal",)}, "thermal", "9.0 tok/s measured"),
        ({"measured_tok_s": 9.0, "throttle": ("power_brake",)}, "power_brake", "lack of power"),
        (
            {"measured_tok_s": 9.0, "host_free_bytes": GIB // 4},
            "memory_pressure",
            "256.0 MiB of 32.0 GiB",
        ),
        ({"measured_tok_s": 9.0}, "slow", "at least 30.0 tok/s expected"),
    ],
)
def test_each_cause_has_its_name_and_its_numbers(change, cause, words):
    health = assess(replace(WELL, **change))

    assert isinstance(health, Degraded)
    assert health.cause == cause
    assert words in health.message


@pytest.mark.parametrize(
    "change",
    [
        {"measured_tok_s": 25.0},  # a little under the p10: a busy second
        {"measured_tok_s": None},  # nothing runs
        {"expected_tok_s_p10": None, "measured_tok_s": 0.5},  # nothing was promised
        {"throttle": ("power_cap",)},  # a card at full load
        {"throttle": ("thermal",)},  # warm, and as fast as promised
        {"host_free_bytes": 0},  # full of file cache, and as fast as promised
        {"host_free_bytes": None, "host_total_bytes": None},
        {"planned_devices": (), "present_devices": ()},
    ],
)
def test_what_is_normal_or_unknown_is_no_alarm(change):
    assert assess(replace(WELL, **change)) == Ok()


def test_a_lost_device_explains_the_slowness():
    health = assess(replace(WELL, present_devices=(), measured_tok_s=2.0, throttle=("thermal",)))

    assert health.cause == "lost_device"
