from pathlib import Path

import pytest
from probe_fakes import FakeSources, captured

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.detect import detect
from edgellm.probe.sources import NoAnswer, Output
from edgellm.probe.vendors import huawei, huawei_links
from edgellm.probe.vendors.cards import Peer

OUTPUTS = Path(__file__).parents[1].joinpath("outputs")
TABLE = (OUTPUTS / "npu-smi-24.1.rc1.b030.txt").read_text()
MATRIX = (OUTPUTS / "npu-smi-24.1.rc1.b030-topo.txt").read_text()
A3 = """\
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip  Phy-ID              | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
| 6     Ascend910           | OK            | 162.8       37                0    / 0             |
| 0     12                  | 0000:9D:00.0  | 0           0    / 0          53202/ 65536         |
| 6     Ascend910           | OK            | -           37                0    / 0             |
| 1     13                  | 0000:9F:00.0  | 0           0    / 0          3369 / 65536         |
"""


def read(table, matrix):
    commands = {"npu-smi info": table, "npu-smi info -t topo": matrix}
    evidence = Evidence(FakeSources(commands=commands))
    return huawei.read(evidence), evidence.faults


def ways(cards):
    return {(card.address, peer.address, peer.kind) for card in cards for peer in card.peers}


def test_eight_npus_reach_each_other_by_hccs_and_each_way_is_told_once():
    cards, faults = read(TABLE, MATRIX)

    assert faults == ()
    assert len(cards) == 8
    assert [len(card.peers) for card in cards] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert cards[0].peers[0] == Peer("0000:c2:00.0", "hccs", None), "the tool tells no rate"
    assert {kind for _, _, kind in ways(cards)} == {"hccs"}


def test_the_two_dies_of_an_a3_are_called_by_their_physical_ids():
    cards, faults = read(A3, (OUTPUTS / "npu-smi-a3-topo.txt").read_text())

    assert faults == ()
    assert ways(cards) == {("0000:9d:00.0", "0000:9f:00.0", "die")}


@pytest.mark.parametrize(
    ("word", "kind"),
    [("HCCS_SW", "hccs"), ("PIX", "switch"), ("PXB", "switch"), ("PHB", "bridge"),
     ("SYS", "sockets"), ("NA", None), ("未知", None)],
)  # fmt: skip
def test_each_word_of_the_legend_is_a_way(word, kind):
    matrix = f"     NPU0 NPU1 CPU Affinity\nNPU0 X {word} 0-23\nNPU1 {word} X 0-23\n"
    cards, faults = read(TABLE, matrix)

    assert faults == ()
    expected = {("0000:c1:00.0", "0000:c2:00.0", kind)} if kind else set()
    assert ways(cards) == expected


def test_a_name_that_two_chips_bear_names_neither():
    """A 310P's card: its matrix, if it had one, could not say which chip is meant."""
    table = """\
| 1       310P3                 | OK              | NA           49                0     / 0 |
| 0                             | 0000:01:00.0    | 0            1448 / 44278                |
| 1       310P3                 | OK              | NA           45                0     / 0 |
| 1                             | 0000:02:00.0    | 0            1511 / 43693                |
| 2       310P3                 | OK              | NA           45                0     / 0 |
| 0                             | 0000:03:00.0    | 0            1511 / 43693                |
"""
    cards, _ = read(table, "     NPU1 NPU2\nNPU1 X PHB\nNPU2 PHB X\n")

    assert len(cards) == 3
    assert ways(cards) == set()


@pytest.mark.parametrize(
    "answer",
    [
        NoAnswer("absent", "No such file or directory"),
        Output("This device does not support querying topo.\n", "", 1),
        "\x00\x7f{{ ][ NPU0 |||| \nNPU0\nNPU9 HCCS HCCS\n",
        "",
    ],
)
def test_what_is_no_matrix_costs_the_ways_and_no_more(answer):
    cards, faults = read(TABLE, answer)

    assert (len(cards), faults, ways(cards)) == (8, (), set())


@pytest.mark.parametrize("kind", ["denied", "timeout"])
def test_a_tool_that_tells_the_cards_and_not_their_links_is_a_fault(kind):
    cards, faults = read(TABLE, NoAnswer(kind, "no"))

    assert len(cards) == 8
    assert [fault.source for fault in faults] == ["npu-smi info -t topo"]


def test_half_a_matrix_gives_what_is_whole():
    whole = ways(read(TABLE, MATRIX)[0])
    for cut in range(0, len(MATRIX), 5):
        assert ways(read(TABLE, MATRIX[:cut])[0]) <= whole


def test_without_npus_nobody_waits_for_their_links():
    evidence = Evidence(FakeSources(commands={}))

    assert huawei.read(evidence) == ()
    assert evidence.faults == ()
    assert huawei_links.peers(MATRIX, {}) == {}


def test_a_machine_of_npus_tells_the_ways_between_its_devices():
    hardware = detect(captured("ascend-910b"), measure_bandwidth=False)

    assert [(link.one, link.other, link.kind) for link in hardware.peers] == [
        ("0000:c1:00.0", "0000:01:00.0", "hccs"),
        ("0000:c1:00.0", "0000:c2:00.0", "hccs"),
        ("0000:01:00.0", "0000:c2:00.0", "hccs"),
    ]
