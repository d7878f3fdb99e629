import json

import msgspec
import pytest
from probe_fakes import captured

from edgellm.probe.detect import detect, examine
from edgellm.probe.evidence import Evidence
from edgellm.probe.hardware import Hardware
from edgellm.probe.report import as_json, as_text, raw_as_text
from edgellm.probe.usage import features_not_built, usage_line


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

    text = raw_as_text(evidence.testimonies)

    assert "== /proc/version\n    Linux version 5.15.153.1-microsoft-standard-WSL2" in text
    assert '"driver": "560.94"' in text
    assert "== /.dockerenv" not in text
    assert "(absent: No such file or directory)" in text
