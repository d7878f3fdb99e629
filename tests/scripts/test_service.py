"""scripts/systemd/edgellm.service, by what edgellm is and by systemd's own judgement."""

import shutil
import subprocess
from pathlib import Path

import pytest

from edgellm import errors

UNIT = Path(__file__).parents[2] / "scripts" / "systemd" / "edgellm.service"
NEEDS_SYSTEMD = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
MOST_EXPOSED = 20  # tenths


def settings():
    found = {}
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def kinds(of=errors.EdgellmError):
    yield of
    for kind in of.__subclasses__():
        yield from kinds(kind)


def test_what_another_start_can_not_mend_ends_the_service():
    final = {int(code) for code in settings()["RestartPreventExitStatus"][0].split()}
    known = {kind.exit_code for kind in kinds()}
    assert final <= known
    for may_pass in (errors.NetworkError, errors.AddressInUse, errors.WorkerDied):
        assert may_pass.exit_code not in final


def test_it_serves_without_network_until_somebody_says_otherwise():
    said = settings()
    assert said["ExecStart"] == ["/opt/edgellm/.venv/bin/edgellm serve $MODELS"]
    assert "EDGELLM_OFFLINE=1" in said["Environment"]
    assert (said["IPAddressDeny"], said["IPAddressAllow"]) == (["any"], ["localhost"])


def analyze(tmp_path, *words):
    """A program stands where edgellm would be installed."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/edgellm/.venv/bin/edgellm", "/bin/true"))
    argv = ("systemd-analyze", *words, str(unit))
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


@NEEDS_SYSTEMD
def test_systemd_understands_every_line(tmp_path):
    said = analyze(tmp_path, "verify", "--man=no")
    ours = [line for line in said.stderr.splitlines() if UNIT.name in line]
    assert ours == []


@NEEDS_SYSTEMD
def test_systemd_finds_little_that_it_could_be_made_to_do(tmp_path):
    said = analyze(tmp_path, "security", "--offline=true", f"--threshold={MOST_EXPOSED}")
    assert said.returncode == 0, said.stdout
