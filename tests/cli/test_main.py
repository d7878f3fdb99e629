import re
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


def test_what_ends_well_is_not_told(capsys):
    telling(lambda: None)
    assert capsys.readouterr().err == ""
