"""The tools of vendors that have no library of ours: one parser each, over every layout that was
found, and over what goes wrong with all of them."""

import json
import time
from dataclasses import fields
from pathlib import Path

import pytest
from probe_fakes import FakeSources

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.sources import NoAnswer, Output, SystemSources, capture_name
from edgellm.probe.vendors import (
    biren,
    cambricon,
    huawei,
    hygon,
    iluvatar,
    metax,
    moorethreads,
    thead,
)
from edgellm.units import MIB

OUTPUTS = Path(__file__).with_name("outputs")


def output(name):
    return (OUTPUTS / f"{name}.txt").read_text()


def readings(vendor, answer, **more):
    command = vendor.TABLE if vendor is huawei else vendor.COMMAND
    files = {"/sys/module/hydcu": ""} if vendor is hygon else {}
    evidence = Evidence(FakeSources(files, {capture_name(command): answer, **more}))
    return vendor.readings(evidence), evidence.faults


@pytest.mark.parametrize(
    ("layout", "name", "addresses", "memory", "power_w", "temperature_c"),
    [
        ("20.2.0", "Ascend310", ["da", "dc", "dd", "db"], (2703, 8192), 12.8, 56),
        ("21.0.4", "Ascend310", ["89", "8a", "8b", "8c"], (2703, 8192), 12.8, 73),
        ("22.0.3.1", "Ascend910A", ["61", "db", "b2", "3e"], (0, 32768), 67.2, 43),
        ("24.1.RC2", "Ascendxxx", ["c1", "01"], (0, 32768), 70.5, 42),
    ],
)
def test_every_layout_of_npu_smi(layout, name, addresses, memory, power_w, temperature_c):
    found, faults = readings(huawei, output(f"npu-smi-{layout}"))

    assert [one.address for one in found] == [f"0000:{bus}:00.0" for bus in addresses]
    first = found[0]
    assert (first.name, first.power_w, first.temperature_c) == (name, power_w, temperature_c)
    assert (first.used_bytes, first.total_bytes) == tuple(n * MIB for n in memory)
    assert first.busy_ratio == 0
    assert faults == ()


def test_an_npu_that_is_not_well_says_so():
    found, _ = readings(huawei, output("npu-smi-24.1.RC2"))

    assert [one.note for one in found] == [None, "npu-smi calls its health 'Warning'"]


A3 = """\
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip  Phy-ID              | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
| 0     Ascend910           | OK            | 162.8       37                0    / 0             |
| 0     0                   | 0000:9D:00.0  | 0           0    / 0          53202/ 65536         |
| 0     Ascend910           | OK            | -           37                0    / 0             |
| 1     1                   | 0000:9F:00.0  | 0           0    / 0          3369 / 65536         |
"""


def test_the_second_chip_of_an_a3_tells_no_power_and_a_blank_may_be_missing():
    found, _ = readings(huawei, A3)

    assert [one.power_w for one in found] == [162.8, None]
    assert found[0].used_bytes == 53202 * MIB
    assert {one.name for one in found} == {"Ascend910"}


def test_npus_are_in_the_order_of_their_logic_ids_which_llama_cpp_counts_by():
    table = output("npu-smi-21.0.4")
    mapping = "NPU ID Chip ID Chip Logic ID Chip Name\n" + "".join(
        f"6 {chip} {3 - chip} MiniD\n" for chip in range(4)
    )
    turned, _ = readings(huawei, table, **{"npu-smi info -m": mapping + "6 4 - Mcu\n"})
    straight, _ = readings(huawei, table, **{"npu-smi info -m": output("npu-smi-21.0.4-m")})
    half, _ = readings(huawei, table, **{"npu-smi info -m": "6 0 3 MiniD"})

    assert [one.address[5:7] for one in turned] == ["8c", "8b", "8a", "89"]
    assert [one.address[5:7] for one in straight] == ["89", "8a", "8b", "8c"]
    assert half == straight, "a mapping that knows half of them is not used"
    assert [one.index for one in turned] == [0, 1, 2, 3]


def test_two_chips_of_one_address_are_two_cards():
    table = """\
| 1       310P3                 | OK              | NA           49                0     / 0 |
| 0       0                     | 0000:01:00.0    | 0            1448 / 44278                |
| 1       310P3                 | OK              | NA           45                0     / 0 |
| 1       1                     | 0000:01:00.0    | 0            1511 / 43693                |
"""
    evidence = Evidence(FakeSources(commands={"npu-smi info": table}))
    one, other = huawei.read(evidence)

    assert (one.address, one.part, other.part) == ("0000:01:00.0", 0, 1)
    assert (one.total_bytes, other.total_bytes) == (44278 * MIB, 43693 * MIB)
    assert one.free_bytes == (44278 - 1448) * MIB


def test_moore_threads_two_widths_of_table():
    [s80], _ = readings(moorethreads, output("mthreads-gmi-1.14.0"))
    s5000, _ = readings(moorethreads, output("mthreads-gmi-2.4.1"))

    assert (s80.name, s80.address, s80.temperature_c) == ("MTT S80", "0000:04:00.0", 49)
    assert (s80.used_bytes, s80.total_bytes, s80.power_w) == (2 * MIB, 16384 * MIB, None)
    assert [(c.index, c.address) for c in s5000] == [(0, "0000:18:00.0"), (1, "0000:3a:00.0")]
    assert {c.name for c in s5000} == {"MTT S5000"}


def test_metax_with_and_without_a_power_cap_and_a_persistence_mode():
    [c500], _ = readings(metax, output("mx-smi-2.1.6"))
    [n260], _ = readings(metax, output("mx-smi-2.2.8"))

    assert (c500.name, c500.power_w, c500.power_limit_w) == ("MXC500", 71, None)
    assert (n260.name, n260.power_w, n260.power_limit_w) == ("MetaX N260", 29, 225)
    assert (n260.used_bytes, n260.total_bytes) == (666 * MIB, 65536 * MIB)
    assert n260.temperature_c == 37


def test_another_makers_mx_smi_is_not_believed():
    table = "| 0  SparseOne S30 | 0000:01:00.0 | 0% |\n| 40C 60W / 250W | 1/100 MiB | Ok |\n"
    found, faults = readings(metax, table)

    assert found == ()
    assert "tells of no device" in faults[0].message


def test_iluvatar_that_tells_no_power_and_one_that_does():
    [v150], _ = readings(iluvatar, output("ixsmi-4.0.0"))
    [v100], _ = readings(
        iluvatar,
        "| 0    Iluvatar BI-V100         | 00000000:14:00.0     | 1500MHz   1200MHz    |\n"
        "| 0%   31C   P0    54W / 250W   | 513MiB / 32768MiB    | 0%        Default    |\n",
    )

    assert (v150.name, v150.address, v150.power_w) == ("Iluvatar BI-V150S", "0000:8a:00.0", None)
    assert (v150.clock_hz, v150.used_bytes) == (500e6, 114 * MIB)
    assert (v100.power_w, v100.power_limit_w, v100.temperature_c) == (54, 250, 31)


def test_cambricon():
    [card], _ = readings(
        cambricon,
        "| 0     /   MLU370-X8    v1.1.6 |         0000:39:00.0 | 0%                N/A |\n"
        "|  0%   32C        106 W/ 250 W |     0 MiB/ 23374 MiB | N/A           Default |\n",
    )

    assert (card.name, card.address) == ("MLU370-X8", "0000:39:00.0")
    assert (card.used_bytes, card.total_bytes) == (0, 23374 * MIB)
    assert (card.power_w, card.power_limit_w, card.temperature_c) == (106, 250, 32)


HYGON = {
    "card0": {
        "Device ID": "0x6210",
        "Card Series": "DCU xxxx",
        "Card Vendor": "Chengdu Haiguang IC Design Co., Ltd.",
        "Average Graphics Package Power (W)": "80.0",
        "Temperature (Sensor edge) (C)": "41.0",
        "Temperature (Sensor junction) (C)": "39.0",
        "Temperature (Sensor mem) (C)": "44.0",
        "": "",
        "DCU use (%)": "0",
        "vram Total Memory (MiB)": "65520",
        "vram Total Used Memory (MiB)": "2",
    }
}


def test_hygon_has_keys_of_its_own_and_one_that_is_empty():
    [card], faults = readings(hygon, HYGON)

    assert (card.name, card.used_bytes, card.total_bytes) == ("DCU xxxx", 2 * MIB, 65520 * MIB)
    assert (card.power_w, card.temperature_c, card.memory_temperature_c) == (80, 41, 44)
    assert faults == ()


def test_amds_rocm_smi_is_not_asked_in_hygons_name():
    evidence = Evidence(FakeSources(commands={capture_name(hygon.COMMAND): HYGON}))

    assert hygon.readings(evidence) == ()
    assert evidence.answers == ()


def test_biren_and_t_head_answer_in_csv():
    [biren_card], _ = readings(biren, "0, BR104P, 512, 31744\n")
    [ppu], _ = readings(thead, "0, PPU-ZW810E, 0, 2, 97920, 29, 58.00\n")

    assert (biren_card.used_bytes, biren_card.total_bytes) == (512 * MIB, 32256 * MIB)
    assert biren_card.temperature_c is None
    assert (ppu.name, ppu.total_bytes, ppu.temperature_c, ppu.power_w) == (
        "PPU-ZW810E",
        97920 * MIB,
        29,
        58,
    )


def test_what_a_csv_calls_not_available_is_unknown():
    [ppu], _ = readings(thead, "0, PPU-ZW810E, [N/A], 2, 97920, [N/A], N/A\n")
    [card], _ = readings(biren, "0, Biren166, N/A, 65536\n")

    assert (ppu.busy_ratio, ppu.temperature_c, ppu.power_w) == (None, None, None)
    assert (card.total_bytes, card.used_bytes) == (None, None)


WHOLE = {
    huawei: output("npu-smi-22.0.3.1"),
    moorethreads: output("mthreads-gmi-2.4.1"),
    metax: output("mx-smi-2.2.8"),
    iluvatar: output("ixsmi-4.0.0"),
    cambricon: "| 0 / MLU370-X8 v1.1.6 | 0000:39:00.0 | 0% N/A |\n"
    "| 0% 32C 106 W/ 250 W | 0 MiB/ 23374 MiB | N/A Default |\n"
    "| 1 / MLU370-X8 v1.1.6 | 0000:3a:00.0 | 0% N/A |\n"
    "| 3% 41C 121 W/ 250 W | 7 MiB/ 23374 MiB | N/A Default |\n",
    biren: "0, BR104P, 512, 31744\n1, BR104P, N/A, 31744\n",
    thead: "0, PPU-ZW810E, 0, 2, 97920, 29, 58.00\n1, PPU-ZW810E, 7, 900, 97920, [N/A], 61.50\n",
    hygon: json.dumps({"card0": HYGON["card0"], "card1": {**HYGON["card0"], "DCU use (%)": "7"}}),
}
KEYED = {hygon}  # a JSON is whole or none
ALL = pytest.mark.parametrize("vendor", WHOLE, ids=lambda vendor: vendor.__name__[14:])


@ALL
def test_a_tool_that_is_not_there_is_no_fault(vendor):
    assert readings(vendor, NoAnswer("absent", "No such file or directory")) == ((), ())


@ALL
@pytest.mark.parametrize(
    "answer",
    [
        NoAnswer("denied", "Permission denied"),
        NoAnswer("timeout", "no answer within 5 s"),
        Output("", "dcmi module initialize failed. ret is -8005\n", 1),
        "\x00\x7f{{ ][ |||| \n| | | |\n|0|0000:01:00.0|\n",
        "",
    ],
)
def test_a_tool_that_fails_gives_no_cards_and_one_fault(vendor, answer):
    found, faults = readings(vendor, answer)

    assert found == ()
    assert len(faults) == 1


def assert_nothing_is_made_up(found, whole):
    """Of each device each field as in the whole answer, or unknown."""
    assert len(found) <= len(whole)
    for one, other in zip(found, whole, strict=False):
        for field in fields(one):
            said = getattr(one, field.name)
            assert said in (None, (), getattr(other, field.name)), f"{field.name} of {one}"


@ALL
def test_half_a_table_gives_what_is_whole(vendor):
    text = WHOLE[vendor]
    whole, _ = readings(vendor, text)
    n_found = []
    for cut in range(len(text.rstrip())):
        found, faults = readings(vendor, text[:cut])
        assert_nothing_is_made_up(found, whole)
        assert bool(faults) is (not found)
        n_found.append(len(found))

    least = 0 if vendor in KEYED or len(whole) == 1 else 1
    assert {0, least} <= set(n_found), "a cut between two devices keeps the first"
    assert whole[0].total_bytes is not None


@ALL
def test_foreign_words_in_headings_do_no_harm(vendor):
    """LC_ALL=C is not obeyed by all of them."""
    text = foreign = WHOLE[vendor]
    for word in (
        "Health", "Temp", "Memory-Usage", "Name", "NAME", "Version", "Driver", "Util", "N/A",
        "Average Graphics Package Power", "Sensor mem",
    ):  # fmt: skip
        foreign = foreign.replace(word, "内存使用"[: len(word)])
    assert foreign != text
    whole, _ = readings(vendor, text)
    found, faults = readings(vendor, foreign)

    assert len(found) == len(whole)
    assert faults == ()
    assert_nothing_is_made_up(found, whole)
    if vendor not in KEYED:
        assert found == whole


def test_a_field_that_goes_by_a_foreign_name_is_unknown():
    [card], _ = readings(hygon, {"card0": {"Card Series": "K100", "平均功率 (W)": "80.0"}})

    assert (card.name, card.power_w) == ("K100", None)


@pytest.mark.parametrize(
    ("vendor", "answer"),
    [
        (thead, "0, PPU-ZW810E, 0, 2, 97920, 29, 58,00\n"),
        (biren, "0, BR104P, 512,5, 31744\n"),
    ],
)
def test_a_comma_for_a_decimal_point_shifts_no_column(vendor, answer):
    found, faults = readings(vendor, answer)

    assert found == ()
    assert len(faults) == 1


def test_a_real_tool_that_hangs_is_given_up(tmp_path, monkeypatch):
    stub = tmp_path / "cnmon"
    stub.write_text("#!/bin/sh\nsleep 60\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    evidence = Evidence(SystemSources())
    began_s = time.monotonic()

    assert evidence.run(cambricon.COMMAND, 0.3) is None
    assert time.monotonic() - began_s < 50.0
    assert evidence.faults[0].message == "cnmon gave no answer within 0.3 s"
