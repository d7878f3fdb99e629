from dataclasses import fields, replace

import pytest

from edgellm.meter.plausible import BOUNDS, plausible
from edgellm.meter.sample import Sample

ORDINARY = Sample(
    "0000:01:00.0", 7.0, used_bytes=5 << 30, total_bytes=8 << 30, busy_ratio=1.0,
    temperature_c=-5.0, power_w=0.0, power_limit_w=700.0, energy_j=4e9, clock_hz=2.5e9,
    throttle=("thermal",), sees_throttle=True, hotspot_c=104.0, memory_c=95.0,
    memory_clock_hz=10.5e9, fan_ratio=1.02, n_lanes=16, n_link_errors=0,
)  # fmt: skip


def test_what_can_be_is_left_as_it_is():
    assert plausible(ORDINARY) is ORDINARY
    assert plausible(Sample("cpu", 0.0)) == Sample("cpu", 0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("used_bytes", -1), ("total_bytes", 2**64 - 1), ("busy_ratio", 655.35),
        ("temperature_c", 511.0), ("hotspot_c", float("nan")), ("memory_c", -273.0),
        ("power_w", -1e-3), ("power_w", float("inf")), ("power_w", 65535.0),
        ("power_w", 262144.0), ("power_limit_w", -9.2e12), ("power_limit_w", 65535.0),
        ("energy_j", -4.0), ("clock_hz", -1.0), ("clock_hz", 1e26), ("memory_clock_hz", 1e26),
        ("fan_ratio", 65535.0), ("n_lanes", 63), ("n_link_errors", -1),
    ],
)  # fmt: skip
def test_what_can_not_be_is_unknown_and_costs_nothing_else(name, value):
    assert plausible(replace(ORDINARY, **{name: value})) == replace(ORDINARY, **{name: None})


def test_every_number_of_a_sample_has_its_bounds():
    no_numbers = {"device_id", "at_s", "throttle", "sees_throttle"}
    assert BOUNDS.keys() | no_numbers == {field.name for field in fields(Sample)}
