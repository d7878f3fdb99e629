"""`tune --power`: every limit is measured, and every card has its own limit back at the end."""

import asyncio

import clockwork
import pytest

from edgellm.cli.measuring import power
from edgellm.cli.measuring.power import Cards, curve, report, rows
from edgellm.errors import BadRequest, EdgellmError
from edgellm.meter.energy.power_limit import PowerRange
from edgellm.meter.sample import Sample


class Card:
    """Draws as much as it may, and gives 2 tokens for each watt up to 400 W, then nothing more."""

    def __init__(self, name="a", set_w=650.0, refuses=()):
        self.device_id, self.found_w, self.set_w = name, set_w, set_w
        self.refuses, self.history = refuses, []

    def read(self):
        return PowerRange(200, 700, 700, self.set_w)

    def set(self, watts):
        if round(watts) in self.refuses:
            raise EdgellmError(f"no {watts:.0f} W for {self.device_id}")
        self.set_w = watts
        self.history.append(round(watts))

    def command(self, watts):
        return f"limit {self.device_id} {watts:.0f}"


class Samples:
    def __init__(self, *cards):
        self.cards = cards

    def latest(self):
        now_s = asyncio.get_running_loop().time()
        return tuple(Sample(card.device_id, now_s, power_w=card.set_w) for card in self.cards)


def measured(*cards, samples=True):
    async def decode():
        await asyncio.sleep(0.02)
        return int(0.02 * sum(min(card.set_w, 400) for card in cards) * 2)

    found = Cards.of(cards)
    seen = Samples(*cards) if samples else Samples()
    lines = []
    points = clockwork.run(curve(found, decode, seen, lines.append), power)
    return found, points, lines


def test_each_limit_is_a_point_and_the_card_has_its_own_back():
    card = Card()
    _, points, lines = measured(card)

    assert card.history == [700, 600, 500, 400, 300, 200, 650]
    assert [round(point.limit_w) for point in points] == card.history[:-1]
    assert len(lines) == len(points)
    for point in points:
        assert point.power_w == pytest.approx(point.limit_w, rel=0.01)
    assert rows(points)[0]["j_per_token"] == pytest.approx(points[0].power_w / points[0].tok_s)


def test_the_report_names_the_thriftiest_limit_and_the_command_that_sets_it():
    found, points, _ = measured(Card("a"), Card("b"))
    text = report(points, found)

    assert "800 W. Nothing was" in text  # two cards of 400 W
    assert "limit a 400" in text
    assert "limit b 400" in text


def test_cards_that_tell_no_power_have_speeds_and_no_joules():
    found, points, _ = measured(Card(), samples=False)

    assert all(point.power_w is None and point.tok_s > 0 for point in points)
    assert "nothing can be said of energy" in report(points, found)


def test_a_refusal_in_the_middle_puts_every_limit_back():
    a, b = Card("a"), Card("b", set_w=600, refuses=(500,))
    with pytest.raises(EdgellmError, match="no 500 W for b"):
        measured(a, b)
    assert (a.set_w, b.set_w) == (650, 600)


def test_one_that_can_not_be_put_back_is_named_with_what_it_should_have():
    a, b = Card("a", refuses=(650,)), Card("b")
    with pytest.raises(EdgellmError, match="a should have 650 W"):
        measured(a, b)
    assert b.set_w == 650


def test_a_model_on_no_card_has_nothing_to_limit():
    with pytest.raises(BadRequest, match="no card"):
        Cards.of([])


class Odd(Card):
    """A board whose driver allows no whole watts at its ends."""

    def read(self):
        return PowerRange(100.4, 219.6, 219.6, self.set_w)


def test_limits_are_whole_watts_that_the_card_allows_and_its_own_is_put_back_to_the_hundredth():
    card = Odd(set_w=212.35)
    measured(card)

    assert card.history[0] == 219
    assert card.history[-2] == 101
    assert card.set_w == 212.35
