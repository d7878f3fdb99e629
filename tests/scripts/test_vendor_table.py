"""The table of vendors is read off the captures, and nothing in it is made up."""

import re

import pytest
from probe_fakes import CAPTURES

from edgellm.probe.known.catalog import load
from scripts import vendor_table


@pytest.fixture(scope="module")
def table():
    return vendor_table.rows()


def test_every_vendor_of_the_probe_has_a_row(table):
    assert {row[0] for row in table} >= {
        "nvidia", "amd", "intel", "apple", "huawei", "moorethreads", "biren", "hygon",
        "cambricon", "iluvatar", "metax", "thead", "qualcomm",
    }  # fmt: skip


def test_every_number_of_a_tools_row_stands_in_its_answer(table):
    """Temperatures and watts of the vendors that answer in text, against that very text."""
    answers = {
        row[1]: "".join(
            path.read_text()
            for place in CAPTURES.iterdir()
            if place.is_dir()
            for path in (place / "commands").glob("*.out")
            if row[1].removeprefix("Ascend") in path.read_text()
        )
        for row in table
        if row[0] in ("huawei", "moorethreads", "cambricon", "iluvatar", "metax", "thead", "hygon")
    }
    n_checked = 0
    for row in table:
        for cell in row[4:6]:
            for number in re.findall(r"\d+", cell) if answers.get(row[1]) else ():
                close = {number, str(int(number) - 1)}  # 94.7 W is shown as 95
                assert any(re.search(rf"(?<!\d){n}(?!\d)", answers[row[1]]) for n in close), row
                n_checked += 1
    assert n_checked >= 15


def test_what_a_tool_does_not_tell_is_a_dash(table):
    cells = {row[1]: row[4:8] for row in table}

    assert cells["BR104P"] == ("–", "–", "–", "–")
    assert cells["Ascend310P3"][1:] == ("–", "–", "–")
    assert cells["MTT S80"][1:] == ("–", "–", "–")


def test_the_documentation_has_this_very_table(table):
    written = (CAPTURES.parents[2] / "docs" / "hardware.md").read_text()
    assert "\n".join(vendor_table.markdown([vendor_table.HEADINGS, *table])) in written


def test_the_documentation_counts_the_data_sheets():
    written = (CAPTURES.parents[2] / "docs" / "hardware.md").read_text()
    assert f"Data sheets of {len(load().device)} devices" in written
