"""What `tune` shows and says."""

import io
import sys

import pytest

from edgellm.cli.measuring.trials import Tuning
from edgellm.cli.measuring.tune_report import Watch, summary
from edgellm.cli.preparing.tuned import Served, Tuned
from edgellm.profiles import load_profiles
from edgellm.selector.bouts import Bout, Match, Sample
from edgellm.selector.knobs import Knobs

CHAT = load_profiles().workload("chat")
START, OTHER = Knobs(8, 2048, 512, None), Knobs(6, 2048, 512, None)
FIRST = (Sample(500.0, 50.0),) * 3


def bout(*ratios, fault=None, is_final=False):
    pairs = tuple((Sample(500.0, 50.0), Sample(500.0 / r, 50.0 / r)) for r in ratios)
    return Bout(Match(START, OTHER, is_final), pairs, fault)


def tuned(best=START, scatter_ratio=0.02):
    return Tuned(
        model="m", quant="Q4_0", date="2026-11-27", served=Served("chat", 4), best=best,
        start=START, decode_tok_s=50.0, prefill_tok_s=500.0, gain_ratio=0.12,
        scatter_ratio=scatter_ratio,
    )  # fmt: skip


def shown(capsys, *bouts, n_fewest=2):
    watch = Watch(START, n_fewest, CHAT)
    watch.begun(Tuning(START, FIRST, 400))
    for one in bouts:
        watch.under_way(one.match, ())
        if one.pairs:
            watch.under_way(one.match, one.ratios(CHAT))
        watch.settled(one)
    return capsys.readouterr().err.splitlines()


def test_the_plans_own_line_comes_first_and_says_how_long_it_will_take(capsys):
    first, how_long = shown(capsys)

    words = " ".join(first.split())
    assert words == "0 as chosen prompt 500 decode 50.0 tok/s after 400 tokens"
    assert "2 variations or some more: at least " in how_long


def test_each_variation_has_a_line_with_what_it_changes_of_a_requests_time(capsys):
    _, _, faster, slower, broken = shown(
        capsys,
        bout(0.9, 0.85, 0.92, 0.9, 0.95),
        bout(1.0, 1.02, 1.1),
        bout(fault="no room"),
    )

    assert "1  threads 6 (8)" in faster
    assert faster.endswith("time -10% (-15% to -5%), faster")
    assert slower.endswith("time +2% (+0% to +10%)")
    assert "3  threads 6 (8)" in broken
    assert broken.endswith("can't be loaded: no room")


def test_without_a_terminal_nothing_is_drawn_over(capsys):
    assert not any("\x1b" in line or "\r" in line for line in shown(capsys, bout(0.9, 1.1)))


def test_where_nothing_is_faster_it_says_what_came_nearest_and_what_would_have_been_seen():
    bouts = (bout(1.1, 1.2, 1.15), bout(0.99, 1.01, 0.98, 0.97, 1.0))
    said = summary(tuned(scatter_ratio=0.045), Tuning(START, FIRST, 0, bouts), CHAT)

    assert said.splitlines() == [
        "nothing is faster here than the plan as it is: decode 50.0 tok/s, prompt 500 tok/s",
        "what came nearest, threads 6 (8): time -1% (-3% to +1%)",
        "gains below 4% would not have been seen",
    ]


def test_a_lost_final_is_what_came_nearest():
    bouts = (bout(0.9, 0.9, 0.9, 0.9, 0.9), bout(1.0, 1.0, 1.1, is_final=True))
    said = summary(tuned(), Tuning(START, FIRST, 0, bouts), CHAT)

    assert "what came nearest, final: threads 6 (8): time +0% (+0% to +10%)" in said
    assert "gains below 3% would not have been seen" in said


def test_with_nothing_to_vary_there_is_no_nearest():
    assert len(summary(tuned(), Tuning(START, FIRST, 0), CHAT).splitlines()) == 1


@pytest.mark.parametrize("words", ["a typical request takes 12% less time", "for --use chat and 4"])
def test_a_winner_is_told_with_its_gain_and_for_whom_it_is_kept(words):
    said = summary(tuned(OTHER), Tuning(OTHER, FIRST, 0, (bout(0.88, is_final=True),)), CHAT)

    assert said.startswith("fastest: threads 6 (8)\n")
    assert words in said


def test_in_a_narrow_terminal_no_number_is_cut_in_two(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    watch = Watch(START, 0, CHAT)
    watch.settled(bout(0.9, 0.85, 0.92, 0.9, 0.95))
    lines = screen.getvalue().rpartition("\x1b[K")[2].splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[1] == "     time -10% (-15% to -5%), faster"
