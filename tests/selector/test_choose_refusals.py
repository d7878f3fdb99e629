"""What does not fit is refused with what would; what was tried in vain is made smaller."""

from dataclasses import replace

import pytest
import selector_specs as specs
from selector_choices import PROFILES, plan_of, refusal_of
from selector_machines import machine, unified

from edgellm.errors import DoesNotFit, ModelNotFound
from edgellm.selector.choose import choose, smaller
from edgellm.selector.plan import Goal
from edgellm.units import GIB, MIB


def taken(hardware, free_bytes):
    """Other programs have the rest."""
    pools = tuple(replace(pool, free_bytes=free_bytes) for pool in hardware.pools)
    return replace(hardware, pools=pools)


def test_memory_that_others_have_at_the_moment_is_no_reason_for_a_larger_machine():
    error = refusal_of(taken(machine(ram=64), GIB), specs.ladder())
    assert "63.0 GiB of 64.0 GiB are taken by other programs" in error.hint
    assert "no quantization" not in error.hint


def test_what_a_reserve_keeps_is_said_to_be_the_reserves():
    error = refusal_of(machine(ram=64), specs.ladder(), reserve_bytes=100 * GIB)
    assert error.hint.startswith("--reserve keeps 100.0 GiB free: ask for less")


def test_a_machine_that_is_too_small_when_empty_is_not_told_to_be_emptied():
    error = refusal_of(taken(machine(ram=2), GIB // 2), specs.ladder())
    assert "taken by other programs" not in error.hint
    assert "take a smaller model (edgellm recommend" in error.hint


def test_what_is_too_slow_is_told_with_its_pace():
    error = refusal_of(machine(ram=32), specs.ladder(), min_tok_s=500)
    assert error.rejected
    assert all(0 < row.decode_tok_s.p50 < 500 for row in error.rejected)


# ---- refusals


def test_a_refusal_is_the_sum_and_what_would_fit():
    error = refusal_of(machine(ram=16), [specs.candidate(specs.llama_70b("F16"))])
    assert "131.4 GiB of weights" in str(error)
    assert "this machine can give 15.2 GiB on the host" in str(error)
    assert "GiB would fit, about 1.7 bits a weight" in error.hint
    assert error.hint.endswith("or take a smaller model (edgellm recommend ranks those that fit)")


def test_a_refusal_sends_nobody_to_another_machine():
    for candidates, pins in (
        ([specs.candidate(specs.llama_70b("F16"))], {}),
        ([specs.candidate(specs.llama_70b())], {"n_gpu_layers": 0}),
        (specs.ladder(), {"n_ctx_seq": 2**17, "n_parallel": 16}),
    ):
        assert "--on" not in refusal_of(machine(ram=12), candidates, **pins).hint


def test_an_embedding_model_that_is_too_large_is_not_sent_to_a_ranking_of_others():
    spec = replace(specs.llama_70b("F16"), pooling="last")
    assert "recommend" not in refusal_of(machine(ram=8), [specs.candidate(spec)]).hint


def test_a_refusal_names_a_quantization_that_would_fit():
    error = refusal_of(machine(ram=24), [specs.candidate(specs.llama_70b())])
    assert "about 2.6 bits a weight (such as IQ2_" in error.hint


def test_a_refusal_names_no_type_that_others_were_trained_in():
    """Of an 8 B there is no MXFP4, which loses less than Q4_K_M in the table of mixes."""
    error = refusal_of(machine(ram=6), [specs.candidate(specs.dense(quant="Q8_0"))])
    assert "(such as Q4_K_M)" in error.hint


def test_a_refusal_counts_only_what_the_pins_left():
    error = refusal_of(
        machine((24, 936), (24, 936), ram=64),
        [specs.candidate(specs.gemma3_27b("F16"))],
        n_gpu_layers=-1,
        kv_type_k="f16",
    )
    assert "a file of up to 4" in error.hint, "of 47 GiB on the cards, the host aside"
    assert "-ctk q8_0 -ctv q8_0" in error.hint
    assert "leaving -ngl, -ncmoe and -ts to edgellm" in error.hint


def test_a_refused_context_is_told_what_would_fit():
    error = refusal_of(machine(ram=24), specs.ladder(), n_ctx_seq=2**30)
    tokens = int(error.hint.split("--ctx ")[1].split(";")[0])
    assert plan_of(machine(ram=24), specs.ladder(), n_ctx_seq=tokens)


def test_an_advised_context_leaves_room_for_what_others_take_meanwhile():
    pins = {"kv_type_k": "f16", "n_parallel": 1, "objective": "quality"}
    error = refusal_of(machine(ram=16), specs.ladder(), n_ctx_seq=2**17, **pins)
    tokens = int(error.hint.split("--ctx ")[1].split(";")[0])
    assert tokens < 2**17
    assert plan_of(machine(ram=15.5), specs.ladder(), n_ctx_seq=tokens, **pins)


def test_no_context_is_advised_that_the_model_was_not_trained_for():
    candidates = [specs.candidate(specs.llama2_13b())]
    error = refusal_of(machine(ram=64), candidates, n_ctx_seq=10**8)
    assert "was trained for conversations of up to 4096 tokens" in error.hint
    assert error.hint.endswith("--ctx 4096")


def test_an_advised_pace_is_reached():
    error = refusal_of(machine(ram=32), specs.ladder(), min_tok_s=500)
    percent = float(error.hint.split("ask for ")[1].split("%")[0])
    assert plan_of(machine(ram=32), specs.ladder(), min_tok_s=500 * percent / 100)


def test_a_pace_far_out_of_reach_is_no_percentage_to_advise():
    error = refusal_of(machine(ram=32), specs.ladder(), min_tok_s=1e9)
    ranked = "edgellm recommend --min-tok-s 1e+09"
    assert error.hint == f"ask for far less, or take a smaller model ({ranked})"


@pytest.mark.parametrize(
    ("hardware", "goal", "hint"),
    [
        (machine(ram=32), {"min_tok_s": 1e9}, "(edgellm recommend --on box --min-tok-s 1e+09)"),
        (machine(ram=2), {}, "(edgellm recommend --on box ranks those that fit)"),
        (machine(ram=2), {"use": "agent"}, "(edgellm recommend --on box --use agent ranks"),
        (taken(machine(ram=64), GIB), {}, "end one of them; or take a smaller model (edgellm rec"),
    ],
)
def test_hints_of_a_described_machine_are_about_that_machine(hardware, goal, hint):
    with pytest.raises(DoesNotFit) as raised:
        choose(hardware, specs.ladder(), Goal(**goal), PROFILES, machine_flags=" --on box")
    assert hint in raised.value.hint
    assert "recommend ranks" not in raised.value.hint
    assert "edgellm ps" not in raised.value.hint


def test_a_hopeless_model_is_told_to_be_smaller():
    error = refusal_of(machine(ram=8), [specs.candidate(specs.llama_70b())])
    assert "take a smaller model" in error.hint


def test_gemma_27b_in_f16_is_refused_on_two_24_gb_cards_with_little_ram():
    error = refusal_of(
        machine((24, 936), (24, 936), ram=8), [specs.candidate(specs.gemma3_27b("F16"))]
    )
    assert "Card 0" in str(error)
    assert "Card 1" in str(error)


@pytest.mark.parametrize(
    ("spec", "cards", "fits"),
    [
        (specs.dense("7b", n_ff=11008, n_head_kv=32, n_vocab=32000, quant="F16"), 1, True),
        (specs.llama2_13b("F16"), 1, False),
        (specs.llama2_13b("F16"), 2, True),
        (specs.llama_70b("F16"), 5, False),
        (specs.llama_70b("F16"), 8, True),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_known_sums_on_cards_of_24_gb(spec, cards, fits):
    hardware = machine(*[(24, 936)] * cards, ram=256)
    candidates = [specs.candidate(spec)]
    if fits:
        assert (
            plan_of(hardware, candidates, n_gpu_layers=-1).placement.n_gpu_layers
            == spec.n_layers + 1
        )
    else:
        refusal_of(hardware, candidates, n_gpu_layers=-1)


def test_no_file_at_all_is_an_error_of_its_own():
    with pytest.raises(ModelNotFound):
        choose(machine(), [], Goal(), PROFILES)


# ---- rejected, and smaller


def test_the_rejected_say_what_bound_them():
    plan = plan_of(machine((8, 500), ram=8))
    bound = {row.quant: row.binding for row in plan.rejected if row.quant != plan.quant}
    assert "F16" in bound
    assert "needs" in bound["F16"]
    assert "can be given" in bound["F16"]
    assert "loses more" in bound["Q2_K"]


@pytest.mark.parametrize(
    "hardware",
    [machine((24, 1000)), machine((12, 900), (12, 900)), machine(ram=32), unified(32)],
    ids=["card", "two cards", "cpu", "unified"],
)
def test_smaller_plans_shrink_what_was_full_and_come_to_an_end(hardware):
    candidates, goal = specs.ladder(), Goal()
    plan = choose(hardware, candidates, goal, PROFILES)
    for _ in range(80):
        less = smaller(plan, hardware, candidates, goal, PROFILES)
        if less is None:
            return
        accelerated = {share.pool_id for share in plan.shares[:-1]} or {"host"}
        for pool_id in accelerated:
            assert used(less, pool_id) <= 0.9 * used(plan, pool_id) + MIB
        assert "ran out of memory" in less.reasons[0]
        plan = less
    pytest.fail("it never ended")


def test_each_plan_tried_in_vain_makes_the_next_one_smaller_by_more():
    hardware, goal = machine(ram=32), Goal()
    plan = choose(hardware, specs.ladder(), goal, PROFILES)
    for n_before, kept_ratio in enumerate((0.9, 0.8, 0.6)):
        less = smaller(plan, hardware, specs.ladder(), goal, PROFILES, n_before=n_before)
        assert used(less, "host") <= kept_ratio * used(plan, "host") + MIB


def used(plan, pool_id: str) -> int:
    return sum(share.total_bytes for share in plan.shares if share.pool_id == pool_id)


def test_a_smaller_plan_keeps_the_pins():
    hardware, goal = machine((24, 1000)), Goal(n_ctx_seq=4096, n_parallel=2, kv_type_k="f16")
    plan = choose(hardware, specs.ladder(), goal, PROFILES)
    less = smaller(plan, hardware, specs.ladder(), goal, PROFILES)
    assert (less.n_ctx_seq, less.n_parallel, less.kv_type_k) == (4096, 2, "f16")
