import pytest
from tui_samples import model, plan

from edgellm.cli.launching.apps import named
from edgellm.cli.launching.fitness import shortcomings

CLAUDE, AIDER = named("claude"), named("aider")


def test_a_context_that_is_too_small_is_told_with_both_numbers_and_the_command():
    served = model(name="my model.gguf", plan=plan(n_ctx_seq=8192), shows_tools=True)
    (found,) = shortcomings(CLAUDE, served, is_served=True)
    assert "32768 tokens of context, and my model.gguf has 8192" in found.text
    assert found.mend == "edgellm serve 'my model.gguf' --use agent --ctx 32768"
    (found,) = shortcomings(CLAUDE, served, is_served=False)
    assert found.mend == "edgellm launch claude --model 'my model.gguf' --ctx 32768"


@pytest.mark.parametrize("n_ctx_seq", [2048, CLAUDE.needs_ctx])
def test_a_model_that_was_trained_for_less_is_told_of_though_it_could_be_served_so(n_ctx_seq):
    served = model(plan=plan(n_ctx_seq=n_ctx_seq), n_ctx_train=2048, shows_tools=True)
    (found,) = shortcomings(CLAUDE, served, is_served=True)
    assert found == (
        "Claude Code needs some 32768 tokens of context, and qwen3:8b was trained for 2048",
        "edgellm recommend --use agent",
    )


def test_a_model_without_tools_is_told_of_only_where_tools_are_called():
    served = model(plan=plan(n_ctx_seq=65536), shows_tools=False)
    (found,) = shortcomings(CLAUDE, served, is_served=True)
    assert "calling tools" in found.text
    assert [*shortcomings(AIDER, served, is_served=True)] == []


def test_what_fits_and_what_nobody_knows_is_no_shortcoming():
    enough = CLAUDE.needs_ctx
    fits = model(plan=plan(n_ctx_seq=enough), n_ctx_train=enough, shows_tools=True)
    unknown = model(plan=None, shows_tools=None)
    for served in (fits, unknown):
        assert [*shortcomings(CLAUDE, served, is_served=True)] == []
