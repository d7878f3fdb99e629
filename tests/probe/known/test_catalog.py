import datetime

import pytest

from edgellm.errors import BadRequest
from edgellm.probe.known import catalog
from edgellm.units import GIB


@pytest.mark.parametrize(
    ("name", "total_gib", "gb_s"),
    [
        ("NVIDIA GeForce RTX 4090", 24, 1008),
        ("NVIDIA GeForce RTX 4090", 48, 1008),
        ("nvidia geforce rtx 4060 ti", 8, 288),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16, 576),  # another chip altogether
        ("NVIDIA GeForce RTX 2060 Laptop GPU", 6, None),
        ("Quadro RTX 8000", 47.5, 672),
        ("AMD Radeon RX 6800", 16, 512),
        ("AMD Radeon RX 7900 GRE (RADV NAVI31)", 16, 576),
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
    row = catalog.load().row(name, int(total_gib * GIB))

    assert (row and row.bandwidth_gb_s) == gb_s


KNOWN = catalog.load().device
COLUMNS = ("memory_gib", "bandwidth_gb_s", "fp16_tflops", "vector_tops", "board_power_w",
           "peer_gb_s", "n_cores")  # fmt: skip


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: row.name)
def test_every_row_has_a_source_a_date_and_believable_figures(row):
    assert row.source
    datetime.date.fromisoformat(row.date)
    assert row.bandwidth_gb_s is None or 5 <= row.bandwidth_gb_s <= 10_000
    assert row.memory_gib is not None
    assert 2 <= row.memory_gib <= 1024
    assert row.fp16_tflops is None or 0.1 <= row.fp16_tflops <= 3_000
    assert row.vector_tops is None or 1 <= row.vector_tops <= row.fp16_tflops / 4
    assert row.board_power_w is None or 5 <= row.board_power_w <= 1_500
    assert all(pattern.strip("* ") for pattern in row.match)
    assert (row.backend == "none") == (row.planned_as is not None)
    assert set(row.uncertain) <= set(COLUMNS)


def test_what_is_a_whole_machine_says_which_processor_it_has():
    """All else that is described has a usual one, of x86."""
    for row in KNOWN:
        if row.unified or row.backend == "cpu":
            assert row.isa, row.name
            assert row.n_cores, row.name
        assert row.n_cores is None or (row.isa and 2 <= row.n_cores <= 256)


def test_one_name_means_one_row():
    keys = [catalog._key(name) for row in KNOWN for name in (row.name, *row.also)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("name", "total_gib", "row"),
    [
        ("NVIDIA GeForce RTX 3060", 11.8, "RTX 3060"),
        ("NVIDIA GeForce RTX 3060", 7.8, "RTX 3060 8GB"),
        ("NVIDIA GeForce RTX 4060 Ti", 7.8, "RTX 4060 Ti 8GB"),
        ("NVIDIA GeForce RTX 4090", 47.9, "RTX 4090"),
        ("Orin (nvgpu)", 29.9, "Jetson AGX Orin 32GB"),
        ("AMD Instinct MI50", 31.9, "MI50 32GB"),
    ],
)
def test_boards_of_one_name_are_told_apart_by_their_memory(name, total_gib, row):
    assert catalog.load().row(name, int(total_gib * GIB)).name == row


@pytest.mark.parametrize(
    ("name", "total_gib", "n_cores", "row", "tflops"),
    [
        ("Apple M3 Max", 36, 30, "M3 Max (30-core GPU)", 10.65),
        ("Apple M3 Max", 96, None, "M3 Max", 14.2),  # whatever its memory
        ("Apple M3 Max", 64, 40, "M3 Max", 14.2),
        ("Apple M2 Pro", 16, 16, "M2 Pro", 6.8 * 16 / 19),
        ("Apple M4", 16, 10, "M4", 4.6),
        ("NVIDIA GeForce RTX 3060", 7.8, 28, "RTX 3060 8GB", 25.5),  # its row tells no cores
    ],
)
def test_chips_of_one_name_are_told_apart_by_their_cores(name, total_gib, n_cores, row, tflops):
    found = catalog.load().row(name, int(total_gib * GIB), n_cores)

    assert found.name == row
    assert found.fp16_tflops == pytest.approx(tflops)


@pytest.mark.parametrize(
    ("said", "row"),
    [
        ("RTX 4090", "RTX 4090"),
        ("RTX 4090 Laptop", "RTX 4090 Laptop"),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", "RTX 4060 Laptop"),
        ("rtx4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090 D", "RTX 4090 D"),
        ("GeForce GTX 1070", "GTX 1070"),
        ("h100", "H100 SXM 80GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80GB"),
        ("Apple M3 Max", "M3 Max"),
        ("strix halo", "Radeon 8060S (Strix Halo 128GB)"),
        ("910B", "Ascend 910B2"),
        ("br100", "Biren BR100"),
    ],
)
def test_people_leave_out_the_brand_the_case_and_the_blanks(said, row):
    assert catalog.load().named(said).name == row


def test_a_name_that_is_nearly_right_gets_the_right_one():
    with pytest.raises(BadRequest, match="RTX 4091") as raised:
        catalog.load().named("RTX 4091")
    assert "RTX 4090" in raised.value.hint
    with pytest.raises(BadRequest) as raised:
        catalog.load().named("GRE")
    assert "RX 7900 GRE" in raised.value.hint
    with pytest.raises(BadRequest) as raised:
        catalog.load().named("")
    assert "cuda:24GiB@1008" in raised.value.hint
