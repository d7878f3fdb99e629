import pytest
from probe_fakes import FakeSources

from edgellm.meter.readers import sysfs
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.host.numbers import parse_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42", 42),
        ("0042", 42),
        ("-1", -1),
        ("0x1002", 0x1002),
        ("", None),
        ("N/A", None),
        ("4.2", None),
    ],
)
def test_the_probe_and_the_meter_read_the_kernels_numbers_by_one_rule(text, number):
    sources = FakeSources({"/sys/number": f"{text}\n"})

    assert parse_number(text) == number
    assert Evidence(sources).number("/sys/number") == number
    assert sysfs.number(sources, "/sys/number") == number
