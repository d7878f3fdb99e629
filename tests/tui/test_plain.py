import io

import pytest

from edgellm.cli.streams import mend_streams
from edgellm.tui.plain import OR_UTF8, ascii_cell, in_cells, is_plain


def test_whatever_is_drawn_has_an_ascii_cell():
    drawn = [*range(0x2500, 0x25A0), *range(0x2800, 0x2900)]
    cells = [ascii_cell(chr(code)) for code in drawn]

    assert all(cell is not None and len(cell) == 1 and cell.isascii() for cell in cells)


def test_lines_bars_and_graphs_can_be_told_apart():
    def like(text):
        return "".join(map(ascii_cell, text))

    assert like("╭──╮│━╸╰╯") == "+--+|==++"
    assert len({like("━"), like("─"), like("╌")}) == 3, "full, empty, unknown"
    assert like("⠀⡀⡄⡆⡇⣇⣿") == " ..::+#"
    assert like("▁▄█▌…●○°") == "_-#|~*o "


def test_what_is_said_is_not_drawn():
    assert [ascii_cell(char) for char in "aé你"] == [None] * 3


@pytest.mark.parametrize(
    ("environ", "plain"),
    [
        ({"LC_ALL": "C"}, True), ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, True),
        ({"LC_ALL": "", "LC_CTYPE": "C"}, True), ({"LANG": "C"}, True),
        ({}, False), ({"LC_ALL": "C.UTF-8", "LANG": "C"}, False), ({"LANG": "en_GB"}, False),
    ],
)  # fmt: skip
def test_only_who_asks_for_the_c_locale_gets_it(environ, plain):
    assert is_plain(environ) is plain


@pytest.mark.parametrize(
    ("encoding", "errors", "written"),
    [
        ("ascii", OR_UTF8, "| ~ 你".encode()),
        ("latin-1", "strict", b"| ~ ?"),
        ("utf-8", "strict", "│ … 你".encode()),
    ],
)
def test_on_the_screen_each_sign_takes_one_cell(encoding, errors, written):
    mend_streams()  # makes the names of the errors known
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, errors=errors)
    with in_cells(out):
        out.write("│ … 你")
        out.flush()

    assert raw.getvalue() == written
    assert out.errors == errors


def test_what_is_no_stream_of_letters_is_left_alone():
    with in_cells(None), in_cells(io.StringIO()) as nothing:
        assert nothing is None
