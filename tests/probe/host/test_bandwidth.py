import json

import pytest
from probe_fakes import FakeSources, captured

from edgellm.probe import bandwidth_child
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import MemoryPool
from edgellm.probe.host import bandwidth
from edgellm.probe.sources import NoAnswer, SystemSources
from edgellm.units import GIB, MIB

HOST = MemoryPool("host", "host", 4 * GIB, 2 * GIB)


def measure(answer):
    evidence = Evidence(FakeSources(commands={"bandwidth_child": answer}))
    return bandwidth.measure(evidence, HOST, 2, None), evidence.faults


def test_a_captured_machine_replays_its_bandwidth():
    assert bandwidth.measure(Evidence(captured("gb10")), HOST, 20, "x").bytes_s == 118e9


@pytest.mark.parametrize("bytes_s", [0.0, 1e6, 1e16])
def test_a_figure_that_no_memory_has_is_unknown(bytes_s):
    rate, faults = measure({"bytes_s": bytes_s})

    assert rate is None
    assert "GB/s is no memory's bandwidth" in faults[0].message


def test_a_measurement_that_fails_is_unknown():
    rate, faults = measure(NoAnswer("timeout", "no answer within 5 s"))

    assert rate is None
    assert faults[0].source == "bandwidth_child"


def test_the_real_measurement_is_within_the_sanity_band_and_kept(tmp_path):
    """Single figures differ threefold on a shared machine: no more than the band is asserted."""
    evidence = Evidence(SystemSources())

    told = bandwidth.measure(evidence, HOST, 2, "this-boot", tmp_path)

    assert told is not None, evidence.faults
    assert 0.2e9 < told.bytes_s < 4000e9
    kept = json.loads((tmp_path / "bandwidth.json").read_text())
    assert (kept["bytes_s"], kept["busy"]) == (told.bytes_s, told.busy)


def kept(tmp_path, **values):
    whole = {"boot_id": "b", "n_threads": 1, "busy": False, "bytes_s": 7e9, "n_measured": 1}
    (tmp_path / "bandwidth.json").write_text(json.dumps(whole | values))
    return bandwidth_child.kept_or_measured(1, 8 * MIB, "b", tmp_path)


def test_a_figure_of_this_boot_is_used_again(tmp_path):
    assert kept(tmp_path)["bytes_s"] == 7e9


def test_a_figure_from_a_busy_machine_is_measured_again_and_only_ever_gets_better(tmp_path):
    again = kept(tmp_path, busy=True, bytes_s=3999e9)

    assert again["n_measured"] == 2
    assert again["bytes_s"] == 3999e9


def test_a_machine_that_is_always_busy_is_not_measured_for_ever(tmp_path):
    assert kept(tmp_path, busy=True, n_measured=3)["bytes_s"] == 7e9


@pytest.mark.parametrize("values", [{"boot_id": "old"}, {"n_threads": 8}, {"bytes_s": "fast"}])
def test_another_boots_figure_is_not_used(tmp_path, values):
    assert kept(tmp_path, **values)["bytes_s"] != 7e9


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_time(tmp_path):
    (tmp_path / "file").write_text("")

    measured = bandwidth_child.kept_or_measured(1, 8 * MIB, "b", tmp_path / "file" / "folder")

    assert measured["bytes_s"] > 0


def test_measuring_ends_when_the_three_best_windows_agree_and_not_before():
    assert bandwidth_child.are_agreed([26.1, 26.6, 26.0])
    assert bandwidth_child.are_agreed([16.1, 26.1, 19.9, 26.6, 26.0])
    assert not bandwidth_child.are_agreed([16.1, 19.1, 21.3])
    assert not bandwidth_child.are_agreed([26.6, 26.6])
