"""What a plan tells of its contexts: that the use bound them, or memory."""

import pytest
import selector_specs as specs
from selector_choices import plan_of
from selector_machines import machine

from edgellm.cli.preparing.resolve import catalog_candidates
from edgellm.models.known import catalog
from edgellm.probe.known.boards import hardware_from_board
from edgellm.units import format_rate


def told(plan) -> str:
    return "\n".join(why for why in plan.reasons if "tokens" in why)


def test_a_context_that_the_use_bound_tells_how_much_would_fit_and_the_flag():
    roomy = machine((24, 900))
    said = told(plan_of(roomy))
    assert "8192 tokens a conversation are what chat wishes for, memory allows more" in said
    n_ctx_seq = int(said.split("--ctx ")[1].split()[0])
    assert n_ctx_seq > 8192
    asked = plan_of(roomy, n_ctx_seq=n_ctx_seq)
    assert (asked.n_ctx_seq, asked.n_parallel) == (n_ctx_seq, 4)
    assert asked.decode_tok_s.p50 > 0.9 * plan_of(roomy).decode_tok_s.p50


@pytest.mark.parametrize(
    ("board", "model"),
    [("rtx3060", "qwen3:32b"), ("4x3090", "llama3.3:70b"), ("4x3090", "qwen3:8b")],
)
def test_the_pace_that_is_told_for_a_longer_context_is_what_its_flag_gives(board, model):
    hardware, candidates = hardware_from_board(board), catalog_candidates(catalog.find(model))
    plan = plan_of(hardware, candidates)
    said = next(why for why in plan.reasons if "would fit" in why)
    asked = plan_of(
        hardware, candidates, n_ctx_seq=int(said.split("--ctx ")[1].split()[0].strip(","))
    )

    assert f"at about {format_rate(asked.decode_tok_s.p50)} instead of" in said
    assert (f"as {asked.quant}," in said) == (asked.quant != plan.quant)
    assert (f"KV {asked.kv_type_k}," in said) == (asked.kv_type_k != plan.kv_type_k)


def test_a_longer_context_that_would_slow_it_is_no_advice():
    tight = machine((8, 900), ram=64)
    plan = plan_of(tight, [specs.candidate(specs.dense())])
    assert plan.n_ctx_seq == 8192
    said = told(plan)
    assert "longer ones (--ctx) would cost pace or quality, fewer (--parallel)" in said
    assert "memory allows more" not in said


def test_a_context_that_was_asked_for_is_nobodys_wish():
    roomy = machine((24, 900))
    for pins in ({"n_ctx_seq": 8192}, {"n_ctx": 32768}, {"objective": "context"}):
        assert "wishes for" not in told(plan_of(roomy, **pins))


def test_a_context_that_memory_or_the_model_bound_is_not_said_to_be_a_wish():
    cut = plan_of(machine(ram=6.6), [specs.candidate(specs.dense())], n_parallel=2, kv_type_k="f16")
    assert cut.n_ctx_seq < 8192
    assert "memory allows no more" in told(cut)
    assert "memory allows more" not in told(cut)
    short = plan_of(machine((48, 900)), [specs.candidate(specs.llama2_13b())])
    assert short.n_ctx_seq == 4096
    assert "wishes for" not in told(short)
