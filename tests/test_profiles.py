import tomllib

import pytest

from edgellm.profiles import board_names, hardware_from_board, load_prices, load_profiles
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
    rows = data.get("family", []) + data.get("cpu_prefill", [])
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
    assert metal.layer_s == pytest.approx(184e-6)
    assert metal.unknown_bandwidth_bytes_s == 100e9
    assert speed.link_bytes_s == 8e9


def test_every_backend_finds_a_family():
    speed = load_profiles().speed
    for board in board_names():
        for device in hardware_from_board(board).devices:
            assert speed.family(device).backend in (device.backend, "none")
    orin = hardware_from_board("jetson-orin-nano").devices[0]
    assert speed.family(orin).name == "cuda-tegra"
    assert speed.family(hardware_from_board("8xh100").devices[0]).name == "cuda-hbm"
    assert speed.family(hardware_from_board("rtx4090").devices[0]).name == "cuda-gddr"


def test_the_quality_table_is_in_the_order_of_its_bits_where_it_is_measured():
    rows = {row.label: row for row in load_profiles().quality.quants}
    assert rows["Q4_K_M"].kld == 0.028152
    assert rows["Q8_0"].kld < rows["Q6_K"].kld < rows["Q5_K_M"].kld < rows["Q4_K_M"].kld
    assert rows["Q4_0"].kld > rows["Q4_K_S"].kld, "more bits are not always better"


def test_every_cloud_price_has_a_source_and_a_machine_that_can_be_described():
    from edgellm.probe.described import hardware_from_devices

    prices = load_prices()
    assert prices.date
    assert {row.name: row.per_hour for row in prices.cloud}["RTX 4090"] == 0.34
    for row in prices.cloud:
        assert row.source
        n_devices = len(hardware_from_devices((row.device,), None).accelerators)
        assert n_devices == (8 if row.name.startswith("8×") else 1)
