import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli.serving.announcing import announced

from edgellm.cli.serving.process_identity import identity_of

# Under Linux psutil counts a start from the boot's second, which is told in /proc/stat.
AFTER_A_CLOCK_STEP = """
import sys, psutil
psutil.PROCFS_PATH = sys.argv[1]
from edgellm.cli.serving import state
print(psutil.boot_time(), len(state.running()))
"""


def test_a_process_keeps_its_birth_and_another_has_another():
    with subprocess.Popen((sys.executable, "-c", "input()"), stdin=subprocess.PIPE) as other:
        identity = identity_of(other.pid)
        assert identity not in (None, identity_of(os.getpid()))
        time.sleep(0.02)
        assert identity_of(other.pid) == identity
        other.communicate(b"\n")
    assert identity_of(other.pid) is None


@pytest.mark.parametrize("pid", [2**22 + 1, 1 << 70, -1])
def test_a_number_that_no_process_has_has_no_birth(pid):
    assert identity_of(pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no start is counted from the boot")
def test_where_the_boot_has_no_name_a_process_has_its_birth_all_the_same(tmp_path):
    identity = identity_of(os.getpid(), tmp_path / "none")
    assert identity
    assert identity_of(os.getpid(), tmp_path / "none") == identity
    assert identity_of(2**22 + 1, tmp_path / "none") is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no start is counted from the boot")
def test_a_server_is_found_when_the_clock_was_set(tmp_path):
    proc = tmp_path / "proc"
    proc.mkdir()
    for entry in Path("/proc").iterdir():
        if entry.name not in ("stat", "self"):
            (proc / entry.name).symlink_to(entry)
    lines = Path("/proc/stat").read_text().splitlines()
    told = next(line for line in lines if line.startswith("btime"))
    set_s = int(told.split()[1]) + 5
    (proc / "stat").write_text(
        "\n".join(f"btime {set_s}" if line == told else line for line in lines)
    )
    with announced("http://127.0.0.1:1"):
        argv = (sys.executable, "-c", AFTER_A_CLOCK_STEP, str(proc))
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [f"{set_s:.1f}", "1"]
