import pytest

from edgellm.errors import ModelNotFound
from edgellm.probe.known.boards import board_names, hardware_from_board
from edgellm.units import GIB

PROMISED = {
    "rtx3090", "2x3090", "4x3090", "8x3090", "rtx4090", "2x4090", "4x4090", "8x4090", "a800",
    "2xa800", "4xa800", "8xa800", "a100-40", "a100-80", "h100", "h200", "8xh100", "b200",
    "l40s", "rtx6000-ada", "a6000", "4xa10g", "8xl40s", "h800", "mi250", "mi300x", "rtx4090d",
    "h20", "l20", "ascend-910b", "ascend-310p", "br100", "br104", "mtt-s4000", "gtx1070", "p40",
    "t4", "3060+gtx1070", "m2-24", "m2-pro-32", "m2-max-96", "m2-ultra-192", "m3-24",
    "m3-pro-36", "m3-max-64", "m3-max-128", "m3-ultra-512", "m4-16", "m4-32", "m4-pro-64",
    "m4-max-128", "strix-halo-128", "gb10", "jetson-orin-nano", "jetson-agx-orin-64", "rpi5",
    "n100", "desktop-ddr5",
}  # fmt: skip


@pytest.mark.parametrize("name", board_names())
def test_every_board_is_a_machine(name):
    hardware = hardware_from_board(name)
    assert hardware.devices[-1].id == "cpu"
    assert hardware.host.id == "host"
    assert all(pool.bandwidth_bytes_s for pool in hardware.pools)
    assert all(pool.free_bytes < pool.total_bytes for pool in hardware.pools)
    assert all(pool.free_bytes > 0.55 * pool.total_bytes for pool in hardware.pools)
    assert all(device.ggml_name for device in hardware.accelerators)
    assert all(device.fp16_flops_s for device in hardware.accelerators)
    assert all(device.board_power_w for device in hardware.accelerators)
    lives_in_host = any(d.pool_id == "host" for d in hardware.accelerators)
    assert hardware.host.kind == ("unified" if lives_in_host else "host")


def test_the_promised_boards_are_there():
    assert set(board_names()) >= PROMISED


def test_eight_cards_are_eight_pools_and_a_macs_gpu_is_none():
    node = hardware_from_board("8xh100")
    assert len(node.accelerators) == 8
    assert len(node.pools) == 9
    assert [device.ggml_name for device in node.accelerators[:2]] == ["CUDA0", "CUDA1"]
    assert node.accelerators[0].peer_bytes_s == 450e9, "NVLink's 900 GB/s are both directions'"
    mac = hardware_from_board("m3-max-64")
    assert len(mac.pools) == 1
    assert mac.host.kind == "unified"
    assert mac.host.total_bytes == 64 * GIB
    assert mac.host.bandwidth_bytes_s == 400e9
    assert mac.system == "Darwin"


def test_a_board_says_what_is_free_and_the_data_sheet_what_the_card_can_do():
    tower = hardware_from_board("2x3090")
    pool = tower.pool("cuda:0")
    assert (pool.total_bytes, pool.free_bytes) == (24 * GIB, int(23.6 * GIB))
    assert pool.bandwidth_bytes_s == 936e9
    device = tower.accelerators[0]
    assert (device.link, device.board_power_w) == ("PCIe 4.0 x8", 350)
    assert device.peer_bytes_s is None, "no bridge was bought"


def test_what_llama_cpp_has_no_backend_for_is_planned_as_if_and_says_so():
    (biren,) = hardware_from_board("br100").accelerators
    assert biren.backend == "musa"
    assert "no backend" in biren.note


def test_a_board_is_known_in_capitals_too():
    assert hardware_from_board("8xH100") == hardware_from_board("8xh100")


@pytest.mark.parametrize("said", ["8xH200", "2x3060", "4060"])
def test_what_is_no_board_but_so_many_of_a_known_card_is_told_as_a_device(said):
    with pytest.raises(ModelNotFound) as raised:
        hardware_from_board(said)
    assert raised.value.hint.endswith(f'--device "{said}" --ram 64GiB')


@pytest.mark.parametrize("said", ["Raspberry Pi 4", "rpi4", "Strix Halo"])
def test_a_machine_that_is_one_device_brings_its_memory_along(said):
    with pytest.raises(ModelNotFound) as raised:
        hardware_from_board(said)
    assert raised.value.hint.endswith(f'--device "{said}"')


@pytest.mark.parametrize(
    ("said", "meant"),
    [("RTX 4090", "rtx4090"), ("2xh100", "8xh100"), ("raspi5", "rpi5"), ("raspberry pi 5", "rpi5"),
     ("DGX Spark", "gb10"), ("biren", "br100"), ("Moore Threads", "mtt-s4000"),
     ("atlas", "ascend-310p"), ("MacBook", "m2-24")],
)  # fmt: skip
def test_an_unknown_board_names_the_nearest_and_no_more(said, meant):
    with pytest.raises(ModelNotFound) as raised:
        hardware_from_board(said)
    asked = raised.value.hint.split("?")[0]
    assert meant in asked
    assert (
        sum(name in asked.removeprefix("did you mean ").split(", ") for name in board_names()) <= 5
    )


@pytest.mark.parametrize("said", ["../speed", "zzz", ""])
def test_a_board_like_no_other_is_to_be_described_by_its_parts(said):
    with pytest.raises(ModelNotFound) as raised:
        hardware_from_board(said)
    assert "--device" in raised.value.hint
    assert board_names()[0] in raised.value.hint, "what names look like"
    assert len(raised.value.hint) < 200
