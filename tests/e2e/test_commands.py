"""Commands that need no server: what they print."""

import json
import re
from pathlib import Path

from cli_runs import EDGELLM


def test_probe_tells_this_machine_in_text_and_json(here):
    told = json.loads(here("probe", "--json").out)

    assert told["devices"][-1]["id"] == "cpu"
    assert told["pools"][-1]["bandwidth_bytes_s"] > 0
    assert "What llama.cpp uses:" in here("probe").out


def test_probe_shows_what_the_sources_said(here):
    assert "== /proc/meminfo" in here("probe", "--raw").out
    told = json.loads(here("probe", "--raw", "--json").out)
    assert "/proc/meminfo" in {said["source"] for said in told}


def test_list_shows_the_demo_and_how_to_get_more(here):
    done = here("list")

    assert re.search(r"^demo +\d", done.out, re.MULTILINE)
    assert "edgellm pull" in done.out
    (demo,) = json.loads(here("list", "--json").out)
    assert (demo["name"], demo["repo"], demo["quant"]) == ("demo", None, "F16")
    assert Path(demo["path"]).stat().st_size == demo["size_bytes"] == demo["done_bytes"]


def test_show_prints_licence_and_quantizations(here):
    told = here("show", "qwen3:8b").out

    assert re.search(r"licence +apache-2.0", told)
    assert re.search(r"^Q4_K_M +\d", told, re.MULTILINE)
    assert "<|im_start|>" in here("show", "demo:latest", "--template").out


def test_show_json_has_the_same_facts(here):
    told = json.loads(here("show", "demo", "--json").out)

    assert told["model"]["license"] == "mit"
    assert told["quants"][0]["is_here"] is True


def test_ps_without_a_server_is_no_failure(here):
    assert here("ps").code == 0
    assert json.loads(here("ps", "--json").out) == []


def test_doctor_checks_and_says_what_it_found(here):
    done = here("doctor")
    findings = json.loads(here("doctor", "--json").out)

    assert done.code == (1 if any(one["verdict"] == "problem" for one in findings) else 0)
    assert {"python", "engine", "memory", "disk"} <= {one["name"] for one in findings}
    n_wrong = sum(one["verdict"] in ("warning", "problem") for one in findings)
    assert ("nothing is wrong" in done.out.splitlines()) == (n_wrong == 0)


def test_python_dash_m_is_the_same_program(home):
    assert EDGELLM[1:] == ("-m", "edgellm")
    assert home.run("--version").code == 0
