from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine

from edgellm.cli.drafting import Drafting, with_drafts
from edgellm.cli.resolve import Resolved, demo
from edgellm.config import Config
from edgellm.errors import ModelNotFound
from edgellm.selector.plan import Goal


def resolved(*candidates):
    return Resolved(candidates[0].name, candidates, lambda wanted, progress: None)


def test_without_the_flag_nothing_changes():
    found = demo()

    assert Drafting().applied(found, Config()) is found
    assert Drafting().given() == ()


def test_the_flag_names_a_model_as_any_other_is_named():
    found = Drafting(draft="demo").applied(demo(), Config())

    assert found.draft.name == "demo"
    assert Drafting(draft="demo").given() == ("--draft",)
    with pytest.raises(ModelNotFound):
        Drafting(draft="./nowhere.gguf").applied(demo(), Config())


def test_every_candidate_gets_the_draft_file_that_is_the_fastest_without_losing_much():
    small = resolved(
        specs.candidate(specs.dense(quant="F16")), specs.candidate(specs.dense(quant="Q4_K_M"))
    )
    large = resolved(*specs.ladder())
    candidates, goal = with_drafts(replace(large, draft=small), machine((24, 900)), Goal())

    assert {one.draft.path for one in candidates} == {small.candidates[1].file}
    assert goal.speculate == "draft"


def test_who_wants_no_guesses_gets_no_draft_model():
    large = resolved(*specs.ladder())
    off = Goal(speculate="off")

    given = with_drafts(replace(large, draft=large), machine(), off)
    assert given == (large.candidates, off)
