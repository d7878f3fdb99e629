import re

import pytest

from edgellm.errors import BadRequest
from edgellm.probe.known import catalog
from edgellm.probe.known.boards import board_names, hardware_from_board
from edgellm.probe.known.described import MAX_DEVICES, hardware_from_devices
from edgellm.units import GIB, MIB


def test_a_device_by_name_has_what_its_data_sheet_says():
    machine = hardware_from_devices(["RTX 4090"], "64GiB@60")
    card, cpu = machine.devices
    pool = machine.pool(card.pool_id)
    assert (card.name, card.backend) == ("NVIDIA GeForce RTX 4090", "cuda")
    assert card.ggml_name == "CUDA0"
    assert (card.link, card.architecture) == ("PCIe 4.0 x16", "sm_89")
    assert pool.total_bytes == 24 * GIB
    assert 24100 * MIB < pool.free_bytes < 24300 * MIB, "as an idle 24 GB card tells"
    assert (machine.host.total_bytes, machine.host.bandwidth_bytes_s) == (64 * GIB, 60e9)
    assert machine.host.free_bytes < machine.host.total_bytes
    assert cpu.note is None


def test_devices_add_up_in_their_order_and_a_count_repeats_one():
    machine = hardware_from_devices(["2x RTX 3090", "GTX 1070", "MI300X"], "128GiB")
    assert [device.id for device in machine.accelerators] == [
        "cuda:0", "cuda:1", "cuda:2", "rocm:0",
    ]  # fmt: skip
    assert len(machine.pools) == 5
    assert machine.host.bandwidth_bytes_s is None
    again = hardware_from_devices(["2xRTX 3090", "gtx1070", "mi300x"], "128GiB")
    assert again == machine


def test_a_device_by_its_figures_has_them_and_no_others():
    machine = hardware_from_devices(["cuda:24GiB@1008", "vulkan:8gb"])
    cuda, vulkan = machine.accelerators
    assert machine.pool(cuda.id).free_bytes == machine.pool(cuda.id).total_bytes == 24 * GIB
    assert machine.pool(cuda.id).bandwidth_bytes_s == 1008e9
    assert machine.pool(vulkan.id).total_bytes == 8 * 10**9
    assert machine.pool(vulkan.id).bandwidth_bytes_s is None
    assert cuda.fp16_flops_s is None
    assert cuda.board_power_w is None


def test_a_device_that_shares_the_hosts_memory_is_the_whole_machine():
    mac = hardware_from_devices(["M3 Max"])
    assert mac.system == "Darwin"
    assert (mac.host.kind, mac.host.bandwidth_bytes_s) == ("unified", 400e9)
    assert mac.host.total_bytes == 128 * GIB
    smaller = hardware_from_devices(["M3 Max"], "64GiB")
    assert (smaller.host.total_bytes, smaller.host.bandwidth_bytes_s) == (64 * GIB, 400e9)
    metal = hardware_from_devices(["metal:32GiB@200"])
    assert (metal.host.kind, metal.host.total_bytes) == ("unified", 32 * GIB)
    with pytest.raises(BadRequest, match="whole memory"):
        hardware_from_devices(["2x DGX Spark"])


def test_a_machine_without_accelerator_is_its_memory():
    pi = hardware_from_devices(["Raspberry Pi 5"])
    assert pi.accelerators == ()
    assert (pi.host.kind, pi.host.bandwidth_bytes_s) == ("host", 17.1 * 1e9)
    assert hardware_from_devices([], "32GiB@51.2").accelerators == ()


@pytest.mark.parametrize(
    ("device", "n_cores", "isa"),
    [
        ("Raspberry Pi 5", 4, ("neon", "dotprod")),
        ("Raspberry Pi 4", 4, ("neon",)),
        ("Jetson AGX Orin", 12, ("neon", "dotprod")),
        ("DGX Spark", 20, ("neon", "dotprod", "i8mm")),
        ("GH200", 72, ("neon", "dotprod", "i8mm")),
        ("Snapdragon X Elite", 12, ("neon", "dotprod", "i8mm")),
        ("M1", 8, ("neon", "dotprod")),
        ("metal:32GiB@200", 8, ("neon", "dotprod", "i8mm")),
        ("RTX 4090", 8, ("avx2", "fma", "f16c")),
    ],
)
def test_a_machine_has_its_own_processor(device: str, n_cores: int, isa: tuple[str, ...]):
    """A Pi was planned for as if it were eight cores of a desktop."""
    cpu = hardware_from_devices([device], None).cpu
    assert (cpu.n_physical_cores, cpu.n_logical_cores, cpu.isa) == (n_cores, n_cores, isa)


@pytest.mark.parametrize("name", board_names())
def test_a_board_has_the_processor_of_its_chip(name: str):
    board = hardware_from_board(name)
    rows = [catalog.load().named(device.name) for device in board.accelerators]
    for row in (row for row in rows if row.isa):
        assert (board.cpu.n_physical_cores, board.cpu.isa) == (row.n_cores, row.isa)


def test_a_machines_whole_memory_has_one_size():
    with pytest.raises(BadRequest, match=r"metal device, 16\.0 GiB, has .* --ram says 256GiB"):
        hardware_from_devices(["metal:16GiB@100"], "256GiB")
    same = hardware_from_devices(["metal:16GiB@100"], "16GiB@120")
    assert (same.host.total_bytes, same.host.bandwidth_bytes_s) == (16 * GIB, 120e9)
    assert hardware_from_devices(["cuda:16GiB@100"], "256GiB").host.total_bytes == 256 * GIB


def test_memory_that_nobody_described_is_assumed_and_said():
    machine = hardware_from_devices(["RTX 4090"])
    assert machine.host.total_bytes == 16 * GIB
    assert "assumed" in machine.device("cpu").note
    assert machine.host.bandwidth_bytes_s is None


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("3060", ["NVIDIA GeForce RTX 3060"]),
        ("2x3060", ["NVIDIA GeForce RTX 3060"] * 2),
        ("1070", ["NVIDIA GeForce GTX 1070"]),
        ("7900xtx", ["AMD Radeon RX 7900 XTX"]),
        ("2x 7900 XTX", ["AMD Radeon RX 7900 XTX"] * 2),
        ("6700 XT", ["AMD Radeon RX 6700 XT"]),
        ("A6000", ["NVIDIA RTX A6000"]),
        ("A4000", ["NVIDIA RTX A4000"]),
    ],
)
def test_a_card_is_known_without_its_series(spec, names):
    assert [device.name for device in hardware_from_devices([spec]).accelerators] == names


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "no device called"),
        ("RTX 9999", "no device called 'RTX 9999'"),
        ("0x RTX 3090", "asks for 0 devices"),
        (f"{MAX_DEVICES + 1}x RTX 3090", "asks for 17 devices"),
        ("99999999999999999999x RTX 3090", "llama.cpp takes 1 to 16"),
        ("cuda:", "'' is not a size"),
        ("cuda:0GiB", "can't be"),
        ("cuda:-1GiB", "not a size"),
        ("cuda:24GiB@", "no bandwidth"),
        ("cuda:24GiB@0", "no bandwidth"),
        ("cuda:24GiB@-5", "no bandwidth"),
        ("cuda:24GiB@nan", "no bandwidth"),
        ("cuda:24GiB@inf", "no bandwidth"),
        ("cuda:24GiB@1e30", "no bandwidth"),
        ("cuda:24GiB@fast", "no bandwidth"),
        ("cuda:9999TiB", "can't be"),
        ("cuda:24Gib@1008@2", "no bandwidth"),
        ("tpu:24GiB", "no kind of accelerator"),
        ("cpu:64GiB@60", "no kind of accelerator"),
        ("none:64GiB", "no kind of accelerator"),
    ],
)
def test_what_describes_no_device_is_refused_in_a_sentence(spec, said):
    with pytest.raises(BadRequest) as raised:
        hardware_from_devices([spec], "64GiB")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("ram", ["", "64", "much", "-4GiB", "0", "999999TiB", "64GiB@none"])
def test_memory_that_can_not_be_is_refused(ram):
    with pytest.raises(BadRequest, match=r"memory can't be|not a size|no unit|no bandwidth"):
        hardware_from_devices(["RTX 4090"], ram)


def test_more_devices_than_llama_cpp_takes_are_refused_however_they_are_said():
    with pytest.raises(BadRequest, match="18 devices"):
        hardware_from_devices(["RTX 3090"] * 18)


def test_a_processor_that_nobody_named_is_said_to_be_assumed_and_how_one_is_named():
    note = hardware_from_devices((), "64GiB@60").device("cpu").note
    assert note.startswith("8 cores with AVX2 are assumed")
    (name,) = re.findall(r"'(.+)'", note)
    named = hardware_from_devices((name,))
    assert named.cpu.n_physical_cores > 8
    assert named.device("cpu").note is None
