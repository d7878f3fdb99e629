import tomllib

import pytest

from edgellm.models.quants import BY_NAME
from edgellm.probe.hardware import Device
from edgellm.probe.known.boards import board_names, hardware_from_board
from edgellm.probe.known.described import hardware_from_devices
from edgellm.profiles import load_prices, load_profiles
from edgellm.resources import profiles_dir

ROOT = profiles_dir()
FILES = sorted(
    [
        *(ROOT / "boards").glob("*.toml"),
        *(ROOT / "workloads").glob("*.toml"),
        ROOT / "speed.toml",
        ROOT / "quality.toml",
    ]
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_profile_names_its_source_and_date(path):
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    assert data["date"]
    tables = ("family", "cpu_kernels", "type_cost", "era")
    rows = [row for table in tables for row in data.get(table, [])]
    assert all(row["source"] for row in rows) if rows else data["source"]


def test_every_use_has_its_workload():
    profiles = load_profiles()
    for use in ("chat", "batch", "stream", "agent"):
        workload = profiles.workload(use)
        assert workload.n_ctx_seq >= workload.n_ctx_seq_min > 0
        assert workload.n_parallel >= 1
        assert workload.why


def test_units_are_changed_once():
    speed = load_profiles().speed
    metal = next(row for row in speed.families if row.name == "metal")
    assert 20e-6 < metal.layer_s < 400e-6
    assert metal.unknown_bandwidth_bytes_s == 100e9
    assert speed.copy_bytes_s == 8e9


def test_every_backend_finds_a_family():
    speed = load_profiles().speed
    for board in board_names():
        for device in hardware_from_board(board).devices:
            assert speed.family(device).backend in (device.backend, "none")
    orin = hardware_from_board("jetson-orin-nano").devices[0]
    assert speed.family(orin).name == "cuda-tegra"
    assert speed.family(hardware_from_board("8xh100").devices[0]).name == "cuda-hbm"
    assert speed.family(hardware_from_board("rtx4090").devices[0]).name == "cuda-ada"


@pytest.mark.parametrize(
    ("device", "family"),
    [
        ("RTX 3090", "cuda-ampere"), ("RTX A6000", "cuda-ampere-pro"), ("L40S", "cuda-ada-pro"),
        ("RTX 6000 Ada", "cuda-ada-pro"), ("RTX PRO 6000 Blackwell", "cuda-blackwell-pro"),
        ("P40", "cuda-pascal"), ("T4", "cuda-turing"), ("GB10", "cuda-gb10"), ("V100", "cuda-hbm"),
        ("M2 Ultra", "metal-ultra"), ("M1 Max", "metal-m1"), ("M5", "metal-m5"), ("M4", "metal"),
        ("MI300X", "rocm-cdna"), ("RX 7900 XTX", "rocm"), ("Radeon 8060S", "vulkan-apu"),
        ("Arc A770", "vulkan-intel"), ("MTT S4000", "other"), ("910B", "other"),
    ],
)  # fmt: skip
def test_a_device_belongs_to_its_generation(device, family):
    (accelerator,) = hardware_from_devices([device]).accelerators
    assert load_profiles().speed.family(accelerator).name == family


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("NVIDIA GeForce RTX 4090", "cuda-ada"), ("NVIDIA A100-SXM4-80GB", "cuda-hbm"),
        ("NVIDIA RTX A4000", "cuda-ampere-pro"), ("NVIDIA L4", "cuda-ada-pro"),
        ("Orin (nvgpu)", "cuda-tegra"), ("NVIDIA Whatever 9000", "cuda"),
    ],
)  # fmt: skip
def test_without_an_architecture_the_name_decides(name, family):
    device = Device("0", "nvidia", name, "cuda", "0")
    assert load_profiles().speed.family(device).name == family


def test_every_tensor_type_that_costs_is_one_of_ggmls():
    speed = load_profiles().speed
    for family in speed.families:
        assert {*family.type_costs, *family.prefill_costs} <= set(BY_NAME)
    for kernels in speed.cpu.kernels:
        assert set(kernels.prefill_costs or {}) <= set(BY_NAME)


def test_a_prediction_has_a_middle():
    for family in load_profiles().speed.families:
        for spread in (family.spread, family.prefill_spread):
            assert 0 < spread.low < 1 < spread.high


def test_the_quality_table_is_in_the_order_of_its_bits_where_it_is_measured():
    rows = {row.label: row for row in load_profiles().quality.quants}
    assert rows["Q4_K_M"].kld == 0.028152
    assert rows["Q8_0"].kld < rows["Q6_K"].kld < rows["Q5_K_M"].kld < rows["Q4_K_M"].kld
    assert rows["Q4_0"].kld > rows["Q4_K_S"].kld, "more bits are not always better"


def test_every_cloud_price_has_a_source_and_a_machine_that_can_be_described():
    from edgellm.probe.known.described import hardware_from_devices

    prices = load_prices()
    assert prices.date
    assert {row.name: row.per_hour for row in prices.cloud}["RTX 4090"] == 0.34
    for row in prices.cloud:
        assert row.source
        n_devices = len(hardware_from_devices((row.device,), None).accelerators)
        assert n_devices == (8 if row.name.startswith("8×") else 1)
