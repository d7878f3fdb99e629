import unicodedata

import pytest

from edgellm.harmless import plain, prose

HOSTILE = (
    "\x1b]52;c;ZXZpbA==\x07",  # writes the clipboard
    "\x1b]52;c;ZXZpbA==",  # the same, cut off before its end
    "\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\",
    "\x1b[2J\x1b[31mred\x1b[0m",
    "\x9b31mred",
    "\x1bPq#0\x1b\\",
    "safe\u202egnp.exe",
    "a\u2066b\u2069c\u200fd\u061c",
    "zero\u200bwidth\ufefftag\U000e0041",
    "\ud800lone",
    "bell\x07 null\x00 del\x7f",
    "line\r\nbreak\u2028and\u2029",
)

PERSIAN = "\u0645\u06cc\u200c\u062e\u0648"  # with the joiner that its spelling needs


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("cleaner", [plain, prose])
def test_nothing_is_left_that_a_terminal_obeys(text, cleaner):
    kept = cleaner(text)

    assert not [c for c in kept if c != "\n" and unicodedata.category(c) in ("Cc", "Cs", "Cf")]
    kept.encode()


def test_a_whole_sequence_leaves_no_litter():
    assert plain("\x1b[31mred\x1b[0m") == "red"
    assert plain("\x1b]52;c;ZXZpbA==\x07after") == "after"


def test_one_line_stays_one_line():
    assert plain("one\ntwo\tthree\r") == "one two three"


def test_prose_keeps_its_lines_and_joiners():
    assert prose("one\n  two\r\n") == "one\n  two\n"
    assert prose(PERSIAN) == PERSIAN
    assert plain(PERSIAN) == PERSIAN.replace("\u200c", "")


def test_markup_is_only_text():
    assert plain("[link=x]bold[/]") == "[link=x]bold[/]"
