from edgellm.cli.output import print_json, say_error
from edgellm.errors import BadRequest


def test_unknown_is_null_in_json(capsys):
    print_json({"b": None, "a": (1, 2)})

    assert capsys.readouterr().out.split() == [
        "{",
        '"a":',
        "[",
        "1,",
        "2",
        "],",
        '"b":',
        "null",
        "}",
    ]


def test_an_error_is_a_message_and_a_hint_on_stderr(capsys):
    say_error(BadRequest("too long", hint="make it shorter"))

    out, err = capsys.readouterr()
    assert out == ""
    assert err == "edgellm: too long\n  → make it shorter\n"


def test_an_error_without_a_hint_has_one_line(capsys):
    say_error(BadRequest("too long"))

    assert capsys.readouterr().err == "edgellm: too long\n"
