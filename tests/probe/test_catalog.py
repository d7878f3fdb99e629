import datetime

import pytest

from edgellm.probe import catalog
from edgellm.units import GIB


@pytest.mark.parametrize(
    ("name", "total_gib", "gb_s"),
    [
        ("NVIDIA GeForce RTX 4090", 24, 1008),
        ("NVIDIA GeForce RTX 4090", 48, 1008),
        ("nvidia geforce rtx 4060 ti", 8, 288),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16, None),  # another chip altogether
        ("NVIDIA A100-SXM4-80GB", 80, 2039),
        ("AMD Radeon RX 7900 XTX", 24, 960),
        ("AMD Radeon RX 7900 XTX (RADV NAVI31)", 24, 960),
        ("Orin", 7.4, 102),
        ("Orin", 61.3, 204.8),
        ("Apple M3 Max", 64, 400),
        ("Apple M3", 24, 100),
        ("a card nobody knows", 8, None),
    ],
)
def test_bandwidth_is_found_by_the_whole_name(name, total_gib, gb_s):
    found = catalog.load().bandwidth_bytes_s(name, int(total_gib * GIB))

    assert found == (gb_s and gb_s * 1e9)


def test_every_row_has_a_source_a_date_and_a_believable_figure():
    for row in catalog.load().device:
        assert row.source, row.name
        datetime.date.fromisoformat(row.date)
        assert 5 <= row.bandwidth_gb_s <= 10_000, row.name
        assert all(pattern.strip("* ") for pattern in row.match), row.name
