import os
import sys

import pytest

from edgellm.cli.commands.run import Wording, _text_of


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        ("café".encode(), "utf-8", "café"),
        ("café".encode(), "ascii", "café"),
        ("café".encode("latin-1"), "latin-1", "café"),
        ("你好".encode("gbk"), "gbk", "你好"),
    ],
)
def test_a_question_is_utf_8_or_what_the_terminal_speaks(data, encoding, text, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", os.fdopen(0, encoding=encoding, closefd=False))

    assert _text_of(data) == text
    assert capsys.readouterr().err == ""


def test_what_is_no_text_at_all_is_asked_as_far_as_it_is_and_told(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", os.fdopen(0, encoding="utf-8", closefd=False))

    assert _text_of(b"caf\xe9, please") == "caf�, please"
    assert "UTF-8" in capsys.readouterr().err


def test_what_is_not_said_of_an_answer_is_left_to_the_server():
    assert Wording().given() == {}
    assert Wording(top_p=0.9, think=False).given() == {"top_p": 0.9, "enable_thinking": False}
