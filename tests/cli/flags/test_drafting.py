from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine

from edgellm.cli.flags.drafting import Drafting, with_draft, with_drafts
from edgellm.cli.flags.pins import Pins
from edgellm.cli.preparing.resolve import Resolved, demo
from edgellm.config import Config
from edgellm.errors import BadRequest, ModelNotFound
from edgellm.selector.plan import Goal


def resolved(*candidates):
    return Resolved(candidates[0].name, candidates)


def test_without_a_draft_model_nothing_changes():
    found = demo()

    assert with_draft(found, Config()) is found
    assert with_draft(found, Config(draft="")) is found
    assert Drafting().given() == ()


def test_a_draft_model_is_named_as_any_other_is():
    found = with_draft(demo(), Config(draft="demo"))

    assert found.draft.name == "demo"
    assert Drafting(draft="demo").given() == ("--draft demo",)
    with pytest.raises(ModelNotFound):
        with_draft(demo(), Config(draft="./nowhere.gguf"))


def test_a_draft_model_that_speaks_of_other_tokens_is_refused_before_anything_is_loaded():
    one = specs.candidate(specs.dense())
    large, small = (
        resolved(replace(one, name=name, spec=replace(one.spec, n_vocab=n_vocab)))
        for name, n_vocab in (("large", 1408), ("small", 512))
    )
    with pytest.raises(BadRequest, match=r"small can't guess for large: .* 512 tokens, .* 1408"):
        with_drafts(replace(large, draft=small), machine((24, 900)), Goal())


def test_the_flag_goes_before_the_file_and_another_guesser_before_both():
    assert Drafting().named(Pins()) is None, "the file's"
    assert Drafting(draft="demo").named(Pins()) == "demo"
    assert Drafting(draft="demo").named(Pins(speculate="draft")) == "demo"
    assert [Drafting().named(Pins(speculate=who)) for who in ("mtp", "ngram", "off")] == [""] * 3
    assert Drafting(draft="demo").named(Pins(speculate="off")) == ""


@pytest.mark.parametrize("who", ["mtp", "ngram"])
def test_a_draft_model_and_another_guesser_exclude_each_other(who):
    with pytest.raises(BadRequest, match=f"--draft demo and --speculate {who} exclude"):
        Drafting(draft="demo").named(Pins(speculate=who))


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
