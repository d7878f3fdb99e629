import pytest

from edgellm.tui.drawn.braille import ceiling, graph


def test_the_newest_value_stands_at_the_right_edge():
    assert graph([4], width=3, height=1, top=4) == ("  ⢸",)


def test_two_values_share_a_cell():
    assert graph([4, 2], width=1, height=1, top=4) == ("⣧",)


def test_a_tall_graph_fills_from_the_bottom():
    assert graph([8, 8], width=1, height=2, top=8) == ("⣿", "⣿")
    assert graph([4, 4], width=1, height=2, top=8) == (" ", "⣿")
    assert graph([5, 5], width=1, height=2, top=8) == ("⣀", "⣿")


def test_an_unknown_moment_is_blank_and_a_zero_is_not():
    assert graph([None, None], width=1, height=1, top=1) == (" ",)
    assert graph([0, 0], width=1, height=1, top=1) == ("⣀",)
    assert graph([None, 0], width=1, height=1, top=1) == ("⢀",)


def test_values_above_the_top_are_cut_off():
    assert graph([100, 100], width=1, height=1, top=4) == ("⣿",)


def test_only_the_newest_values_are_shown():
    assert graph([4] * 100 + [0, 0], width=1, height=1, top=4) == ("⣀",)


def test_without_values_all_is_blank():
    assert graph([], width=4, height=2, top=1) == ("    ", "    ")


@pytest.mark.parametrize("width", [1, 2, 7, 40])
@pytest.mark.parametrize("n_values", [0, 1, 2, 13, 200])
def test_every_line_has_its_width(width, n_values):
    lines = graph([float(i % 5) for i in range(n_values)], width, 3, top=5)

    assert [len(line) for line in lines] == [width] * 3


@pytest.mark.parametrize(
    ("highest", "top"),
    [(0.2, 1), (1, 1), (1.1, 1.5), (34.5, 40), (99, 100), (118, 150), (1210, 1500), (81_000, 1e5)],
)
def test_the_scale_is_a_round_number_that_nothing_exceeds(highest, top):
    assert ceiling([None, highest, 0.0]) == top


def test_the_scale_of_nothing_is_one():
    assert ceiling([]) == ceiling([None]) == 1
