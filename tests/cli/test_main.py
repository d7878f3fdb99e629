import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgellm.cli.main import telling
from edgellm.errors import BadGGUF


def test_an_error_is_a_sentence_with_a_hint_and_its_own_exit_code(capsys):
    def reads():
        raise BadGGUF("x.gguf is cut off", hint="fetch it again")

    with pytest.raises(SystemExit) as ended:
        telling(reads)
    assert ended.value.code == 4
    assert capsys.readouterr().err == "edgellm: x.gguf is cut off\n  → fetch it again\n"


def test_a_bug_is_a_sentence_and_its_traceback_a_file(capsys):
    with pytest.raises(SystemExit) as ended:
        telling(lambda: 1 // 0)
    said = capsys.readouterr().err
    (path,) = re.findall(r"what is in (\S+)", said)
    kept = Path(path).read_text()
    Path(path).unlink()

    assert ended.value.code == 1
    assert "this is a bug: ZeroDivisionError" in said
    assert "Traceback" not in said
    assert "Traceback" in kept
    assert "1 // 0" in kept


BREAKS_ON_A_FULL_DISK = """
import resource
from edgellm.cli.main import telling
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
telling(lambda: {}["x"])
"""


def test_where_no_file_can_be_written_a_bug_is_told_with_its_line(tmp_path):
    program = tmp_path / "breaks.py"
    program.write_text(BREAKS_ON_A_FULL_DISK)

    argv = (sys.executable, str(program))
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "edgellm: this is a bug: KeyError: 'x'\n"
        f"  → tell us, with the line where it arose: {program}:5\n"
    )


def test_what_ends_well_is_not_told(capsys):
    telling(lambda: None)
    assert capsys.readouterr().err == ""
