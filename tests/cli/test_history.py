import stat

import pytest

from edgellm.cli.history import MOST_LINES, History


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "history"


def test_what_was_typed_is_there_the_next_time(path):
    first = History(path)
    for line in ("Why is the sky blue?", "two\nlines", "ä → 你好", '"""'):
        first.add(line)

    assert History(path).lines() == ["Why is the sky blue?", "two\nlines", "ä → 你好", '"""']


def test_blank_lines_and_the_same_again_are_not_kept(path):
    history = History(path)
    for line in ("a", "", "  ", "a", "b", "a"):
        history.add(line)
    again = History(path)
    again.lines()
    again.add("a")

    assert History(path).lines() == ["a", "b", "a"]


def test_only_its_user_can_read_it_whoever_made_it(path):
    History(path).add("a secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    path.chmod(0o644)
    History(path).add("another")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_is_bounded_and_keeps_the_newest(path):
    history = History(path)
    for n in range(2 * MOST_LINES + 1):
        history.add(f"line {n}")
    kept = History(path).lines()

    assert kept == [f"line {n}" for n in range(MOST_LINES + 1, 2 * MOST_LINES + 1)]
    assert len(path.read_bytes().splitlines()) == MOST_LINES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_conversations_at_the_same_time_lose_none_of_each_others(path):
    one, other = History(path), History(path)
    one.lines(), other.lines()
    one.add("one")
    other.add("other")
    one.add("one again")

    assert History(path).lines() == ["one", "other", "one again"]


def test_what_is_no_line_of_ours_is_passed_over(path):
    History(path).add("first")
    with path.open("ab") as file:
        file.write(b"not json\n\xff\xfe\n3\n")
    History(path).add("last")

    assert History(path).lines() == ["first", "last"]


def test_one_that_cannot_be_kept_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    history = History(tmp_path / "file" / "history")
    history.add("lost")

    assert history.lines() == []


def test_what_is_read_at_the_prompt_is_kept(path):
    typed = iter(["Hi", "", "/bye"])
    read = History(path).noting(lambda prompt: next(typed))

    assert [read(">>> ") for _ in range(3)] == ["Hi", "", "/bye"]
    assert History(path).lines() == ["Hi", "/bye"]
