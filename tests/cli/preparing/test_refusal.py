"""What is told where nothing fits."""

import re

import pytest

from edgellm.cli.flags.described import Described
from edgellm.cli.preparing.refusal import Asked, tell_refusal
from edgellm.cli.preparing.resolve import catalog_candidates
from edgellm.errors import DoesNotFit
from edgellm.models.known import catalog
from edgellm.selector.plan import Goal


def boards(capsys, model, goal):
    """Those that are told of for it instead of a Raspberry Pi, with their paces in tok/s."""
    described = Described(on=["rpi5"])
    candidates = catalog_candidates(catalog.find(model))
    asked = Asked(model, described, described.hardware(), candidates, goal)
    tell_refusal(DoesNotFit("too large"), model, asked, as_json=False)
    shown = " ".join(capsys.readouterr().out.split())
    return dict(re.findall(r"· --on (\S+): [^·]*?, ([\d.]+) tok/s", shown))


def test_machines_are_offered_that_keep_the_pace_and_not_the_smallest_that_hold_it(capsys):
    found = boards(capsys, "llama3.3:70b", Goal())
    assert len(found) == 3
    assert all(float(pace) >= 10 for pace in found.values())


def test_where_none_keeps_the_pace_those_that_hold_it_are_better_than_nothing(capsys):
    found = boards(capsys, "llama3.3:70b", Goal(n_gpu_layers=0))
    assert len(found) == 3
    assert all(float(pace) < 10 for pace in found.values())


@pytest.mark.parametrize("pace", [50.0, 1e6])
def test_a_pace_that_was_asked_for_is_kept(capsys, pace):
    found = boards(capsys, "llama3.3:70b", Goal(min_tok_s=pace))
    assert all(float(one) >= pace for one in found.values())
    assert bool(found) == (pace == 50)
