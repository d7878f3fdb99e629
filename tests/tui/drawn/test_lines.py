import pytest
from tui_samples import text

from edgellm.tui.drawn.lines import (
    Span,
    bar,
    beside,
    box,
    crop,
    fit,
    joined,
    pad,
    spread,
    width_of,
    wrap,
)


def test_what_is_cut_ends_in_an_ellipsis():
    assert fit("Qwen3-8B-Q4_K_M.gguf", 10) == "Qwen3-8B-…"
    assert fit("short", 10) == "short"
    assert fit("gone", 0) == ""


@pytest.mark.parametrize("name", ["llama", "模型模型模型", "モデル7B", "😀😀😀", "é" * 9])
@pytest.mark.parametrize("width", range(1, 12))
def test_a_padded_text_has_its_width_in_cells_whatever_the_script(name, width):
    assert width_of((Span(pad(name, width)),)) == width
    assert width_of(crop((Span("a "), Span(name), Span(name)), width)) == width


def test_where_two_ends_meet_the_left_gives_way():
    line = spread((Span("a very long left end"),), (Span("right"),), 16)

    assert text([line]) == "a very lo… right"


def test_a_bar_is_full_light_or_broken():
    assert text([bar(0.5, 8)]) == "━━━━────"
    assert text([bar(1.7, 4)]) == "━━━━"
    assert text([bar(0.0, 4)]) == "────"
    assert text([bar(None, 4)]) == "╌╌╌╌"


def test_a_little_is_not_nothing():
    assert text([bar(0.001, 4)]) == "╸───"


def test_a_box_has_a_title_a_note_and_full_lines():
    block = box((Span("log"),), (Span("2 lines"),), [(Span("one"),), (Span("two"),)], 30, 5)

    assert text(block) == (
        "╭─ log ──────────── 2 lines ─╮\n"
        "│ one                        │\n"
        "│ two                        │\n"
        "│                            │\n"
        "╰────────────────────────────╯"
    )


@pytest.mark.parametrize("width", range(12, 60, 5))
def test_a_box_is_as_wide_as_it_should_be_whatever_its_title(width):
    block = box((Span("a title of some length"),), (Span("and a note"),), [], width, 3)

    assert {width_of(line) for line in block} == {width}


def test_boxes_stand_side_by_side():
    left, right = box((Span("a"),), (), [], 10, 3), box((Span("b"),), (), [], 10, 3)

    assert {width_of(line) for line in beside([left, right])} == {20}


def test_items_are_joined_while_there_is_room():
    assert joined(["Q4_K_M", "KV q8_0", "8 threads"], 20) == "Q4_K_M · KV q8_0"


def test_the_first_of_joined_items_is_cut_rather_than_left_out():
    assert joined(["31–40 tok/s predicted", "one stream"], 14) == "31–40 tok/s p…"


def test_text_wraps_between_words_and_a_long_word_anywhere():
    assert wrap("nine GiB were asked for", 10) == ["nine GiB", "were asked", "for"]
    assert wrap("see /very/long/path", 6) == ["see", "/very/", "long/p", "ath"]
    assert wrap("", 6) == [""]
