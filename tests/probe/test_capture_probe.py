import importlib.util
from pathlib import Path

import pytest
from probe_fakes import CAPTURES, captured

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.detect import detect, examine
from edgellm.probe.sources import SysrootSources

SCRIPT = Path(__file__).parents[2] / "scripts" / "capture_probe.py"


@pytest.fixture(scope="module")
def capture():
    spec = importlib.util.spec_from_file_location("capture_probe", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.capture


@pytest.mark.parametrize("name", sorted(p.name for p in CAPTURES.iterdir() if p.is_dir()))
def test_a_capture_of_a_capture_is_the_same_machine(capture, tmp_path, name):
    evidence = Evidence(captured(name))
    hardware = examine(evidence)

    capture(evidence, tmp_path / "copy")

    assert detect(SysrootSources(tmp_path / "copy")) == hardware
