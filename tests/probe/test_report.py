import dataclasses
import json
from pathlib import Path

import msgspec
import pytest
from probe_fakes import CAPTURES, FakeSources, captured

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.detect import detect, examine
from edgellm.probe.hardware import (
    Cpu,
    Device,
    Dimms,
    Hardware,
    MemoryPool,
    NumaNode,
    PeerLink,
    Serving,
    SourceFault,
)
from edgellm.probe.report import as_json, as_text, raw_as_json, raw_as_text
from edgellm.probe.usage import features_not_built, usage_line

ALL = sorted(place.name for place in CAPTURES.iterdir() if place.is_dir())


def lines_of(name):
    hardware = detect(captured(name))
    return {device.id: usage_line(hardware, device) for device in hardware.devices}


def test_each_device_says_in_one_line_whether_it_is_used_and_how():
    assert lines_of("rtx4090")["0000:01:00.0"] == (
        "used through CUDA as CUDA0: 23.3 GiB of 24.0 GiB free"
    )
    assert lines_of("strix-halo")["0000:c1:00.0"] == (
        "used through Vulkan as Vulkan0: 112.5 GiB of 120.2 GiB free, shared with the CPU, "
        "of which it may map 100.0 GiB"
    )
    assert lines_of("cpu-build-with-accelerators")["0000:83:00.0"] == (
        "not used: llama.cpp has no backend for it; the CPU is used instead"
    )


def test_a_backend_that_runs_few_types_says_so():
    assert lines_of("ascend-910b")["0000:c1:00.0"].endswith(
        "; of the quantized types Q4_0 and Q8_0 only; a Q4_K_M file runs on the CPU"
    )
    assert "; without flash attention" in lines_of("mtt-s80")["0000:04:00.0"]


def test_the_cpu_says_what_is_left_for_it():
    assert lines_of("rtx4090")["cpu"] == "used for what no accelerator holds, on 16 cores"
    assert lines_of("raspberry-pi-5")["cpu"] == "runs everything, on 4 cores"


def test_a_build_slower_than_the_cpu_is_named():
    hardware = detect(captured("cpu-build-with-accelerators"))

    assert features_not_built(hardware) == ("avx2",)
    assert "slowly: this llama.cpp was built without avx2" in usage_line(
        hardware, hardware.device("cpu")
    )


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_table_keeps_to_its_width(width):
    text = as_text(detect(captured("two-uneven-nvidia")), width)
    table = [line for line in text.splitlines() if line.startswith(("DEVICE", "0000:0", "cpu  "))]

    assert len(table) == 5
    assert all(len(line) <= width for line in table)
    assert ("LINK" in table[0]) == (width >= 100), "the last columns go first"
    assert table[1].split("  ")[1].endswith("4090"), "a name is cut in its middle"


@pytest.mark.parametrize("name", ALL)
def test_every_machine_fits_into_80_columns(name):
    table, rest = as_text(detect(captured(name)), 80).split("What llama.cpp uses:")

    assert max(map(len, table.splitlines())) <= 80
    for line in rest.splitlines():
        assert len(line) <= 80 or len(line.split()) == 1, "only a word may be longer"


def test_eight_cards_keep_their_names_and_are_summed_up_between():
    text = as_text(detect(captured("8xh100")), 80)

    assert text.count("NVIDIA H100 80GB HBM3") == 8
    assert "Between devices:\n  NVLink, 478 GB/s each way: 28 pairs\n" in text


def test_devices_of_which_the_same_is_to_be_said_are_named_together():
    text = as_text(detect(captured("mlu370-x8")), 160)

    assert text.count("the CPU is used instead") == 1
    assert "0000:39:00.0, 0000:3d:00.0: not used" in text


def test_two_cards_name_the_way_between_them():
    text = as_text(detect(captured("2xmi300x")))

    assert "Infinity Fabric, 64 GB/s each way: 0000:05:00.0 – 0000:26:00.0" in text


def test_the_first_line_tells_cores_modules_and_power_mode():
    first = {name: as_text(detect(captured(name)), 120).partition("\n")[0] for name in ALL}

    assert "14 cores (6 fast) / 20 threads" in first["arc-b580"]
    assert "DDR5-5600 in 2 channels (90 GB/s at most)" in first["arc-b580"]
    assert "2 NUMA nodes" in first["epyc-two-sockets"]
    assert first["jetson-agx-orin"].endswith("power mode MODE_30W")


def test_a_mac_tells_its_gpus_cores_beside_its_family():
    assert "apple9, 40 cores" in as_text(detect(captured("apple-m3-max")), 120)


def test_lanes_that_are_missing_are_told():
    assert "; attached by 4 of its 16 lanes;" in lines_of("mtt-s80")["0000:04:00.0"]
    assert "lanes" not in lines_of("arc-b580")["0000:03:00.0"]


def test_the_document_of_the_json_names_every_field():
    text = (Path(__file__).parents[2] / "docs" / "probe-json.md").read_text()
    kinds = (Hardware, Device, MemoryPool, Serving, PeerLink, Cpu, NumaNode, Dimms, SourceFault)

    missing = [
        f"{kind.__name__}.{field.name}"
        for kind in kinds
        for field in dataclasses.fields(kind)
        if f"`{field.name}`" not in text
    ]
    assert missing == []


def test_unknown_is_a_dash_and_a_column_that_nobody_fills_is_left_out():
    text = as_text(detect(captured("rtx4090")))
    integrated = next(line for line in text.splitlines() if line.startswith("0000:10:00.0"))

    assert "–" in integrated
    assert "0.0 /" not in text
    assert "LINK" not in as_text(detect(captured("raspberry-pi-5")))


def test_what_did_not_answer_is_at_the_end():
    sources = captured("rtx4090")
    evidence = Evidence(sources)
    evidence.fault("nvml", "Driver/library version mismatch")

    text = as_text(examine(evidence))

    assert text.endswith("What did not answer:\n  nvml: Driver/library version mismatch\n")


def test_json_is_the_hardware_and_a_line_of_usage():
    hardware = detect(captured("rtx4090"))

    told = json.loads(json.dumps(as_json(hardware)))

    assert told["devices"][0]["usage"].startswith("used through CUDA")
    assert told["pools"][-1]["id"] == "host"
    for device in told["devices"]:
        del device["usage"]
    assert msgspec.convert(told, Hardware) == hardware


def test_raw_shows_every_answer_word_for_word():
    evidence = Evidence(captured("wsl2"))
    examine(evidence)

    text = raw_as_text(evidence.answers)

    assert "== /proc/version\n    Linux version 5.15.153.1-microsoft-standard-WSL2" in text
    assert '"driver": "560.94"' in text
    assert "== /.dockerenv" not in text
    assert "(absent: No such file or directory)" in text


def test_raw_for_programs_has_the_same_answers():
    evidence = Evidence(captured("wsl2"))
    examine(evidence)

    told = raw_as_json(evidence.answers)
    by_source = {said["source"]: said for said in told}

    assert [said["source"] for said in told] == [said.source for said in evidence.answers]
    assert by_source["/proc/version"]["text"].startswith("Linux version 5.15")
    assert by_source["nvml_child"]["code"] == 0
    absent = next(said for said in told if said.get("silence") == "absent")
    assert absent["text"] is None
    assert json.loads(json.dumps(told)) == told


def test_a_machine_that_does_not_tell_its_memory_has_a_dash_and_no_zero():
    hardware = detect(FakeSources(), measure_bandwidth=False)

    assert "0 B" not in as_text(hardware)
    (pool,) = as_json(hardware)["pools"]
    assert (pool["total_bytes"], pool["free_bytes"]) == (None, None)
