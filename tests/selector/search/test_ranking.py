"""What an option is worth, and that devices are not taken for nothing."""

from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine

from edgellm.models.known import catalog
from edgellm.probe.known.boards import hardware_from_board
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal, Range
from edgellm.selector.search.ranking import Merit, Pace, balance, rank
from edgellm.selector.search.settings import settings

PROFILES = load_profiles()
CHAT = PROFILES.workload("chat")
SPEC = specs.dense()
SPEED, ENERGY = ((Goal(objective=one), PROFILES) for one in ("speed", "energy"))
WISHED = next(iter(settings(SPEC, Goal(), CHAT)))


def merit(tok_s=20.0, first_s=1.5, n_devices=1, kld=0.0, kv_kld=0.0, **setting) -> Merit:
    """Just what a chat needs, unless said otherwise."""
    pace = Pace(Range(tok_s, tok_s, tok_s), Range(first_s, first_s, first_s))
    return Merit(SPEC, replace(WISHED, **setting), pace, kld, kv_kld, n_devices, None)


def points(**facts) -> float:
    return balance(merit(**facts), Goal(), CHAT)


def plan_on(board, candidates=None, **goal):
    hardware = hardware_from_board(board) if isinstance(board, str) else board
    return choose(hardware, candidates or specs.ladder(), Goal(**goal), PROFILES)


def test_half_a_context_or_half_of_the_needed_pace_costs_a_point():
    assert points(n_ctx_seq=WISHED.n_ctx_seq // 2) == pytest.approx(points() - 1)
    assert points(tok_s=10.0) == pytest.approx(points() - 1)


def test_twice_as_many_devices_cost_what_twice_the_spare_pace_brings():
    assert points(n_devices=2, tok_s=40.0) == pytest.approx(points())
    assert points(n_devices=8) == pytest.approx(points() - 0.3)


def test_the_first_device_costs_nothing():
    assert points(n_devices=1) == points(n_devices=0)


def test_a_card_is_worth_context_that_is_lacking_or_weights_that_lose_clearly_less():
    assert points(n_devices=2) > points(n_ctx_seq=WISHED.n_ctx_seq * 3 // 4)
    assert points(n_devices=2) > points(tok_s=15.0)
    assert points(n_devices=2, kld=0.0054) > points(kld=0.0263)  # Q6_K instead of Q4_K_M


def test_a_card_is_not_worth_a_plain_cache_or_a_first_token_that_comes_early_anyway():
    assert points(n_devices=2) < points(kv_kld=0.0017)
    assert points(n_devices=2, first_s=0.4) < points(first_s=0.8)


@pytest.mark.parametrize("board", ["2x3090", "4x3090", "8x3090", "8xh100"])
@pytest.mark.parametrize("use", ["chat", "agent", "stream", "batch"])
def test_what_one_card_holds_leaves_the_others_free(board, use):
    plan = plan_on(board, use=use)

    assert len(plan.placement.device_ids) == 1
    assert plan.n_parallel == PROFILES.workload(use).n_parallel
    assert plan.n_ctx_seq == PROFILES.workload(use).n_ctx_seq


def test_what_needs_more_cards_gets_no_more_than_that():
    plan = plan_on("8x3090", specs.ladder(specs.llama_70b, ("Q4_K_M",)))

    assert 2 <= len(plan.placement.device_ids) <= 3
    assert (plan.n_ctx_seq, plan.n_parallel) == (CHAT.n_ctx_seq, CHAT.n_parallel)


def test_a_card_is_taken_before_the_context_is_cut():
    candidates = [specs.candidate(specs.dense(quant="Q8_0"))]
    one, two = machine((10, 900)), machine((10, 900), (10, 900))

    alone = plan_on(one, candidates, n_gpu_layers=-1)
    assert alone.n_ctx_seq * alone.n_parallel < CHAT.n_ctx_seq * CHAT.n_parallel
    plan = plan_on(two, candidates, n_gpu_layers=-1)
    assert (plan.n_ctx_seq, plan.n_parallel) == (CHAT.n_ctx_seq, CHAT.n_parallel)
    assert len(plan.placement.device_ids) == 2


def test_a_second_card_is_taken_before_the_cpu_computes():
    """Either is one more device, and the card is faster, weak as it is."""
    spec = catalog.spec(catalog.find("gpt-oss:20b"), "MXFP4")
    plan = plan_on("3060+gtx1070", [specs.candidate(spec)])

    assert len(plan.placement.device_ids) == 2
    assert not plan.shares[-1].computes


def test_equal_cards_that_are_left_out_are_told_in_one_sentence():
    (said,) = [why for why in plan_on("8x3090").reasons if "left out" in why]

    assert said.startswith("7 × NVIDIA GeForce RTX 3090 are left out: with one more it would be")


def test_where_no_loss_is_acceptable_the_fastest_of_the_best_file_is_taken():
    plain = merit(tok_s=4.9, first_s=20, kld=0.27)
    quick = merit(tok_s=5.1, first_s=25, kld=0.27, kv_kld=0.002)
    worse = merit(tok_s=9.0, kld=0.4)
    thrifty = replace(plain, power_w=100.0), replace(quick, power_w=100.0)
    assert rank(quick, *SPEED) > rank(plain, *SPEED)
    assert rank(plain, *SPEED) > rank(worse, *SPEED)
    assert rank(thrifty[1], *ENERGY) > rank(thrifty[0], *ENERGY)


def test_streams_of_their_own_have_to_buy_something():
    """Idle conversations can't leave those for host memory."""
    apart = {"kv_unified": False, "n_scratch": 0}
    assert points(**apart) < points()
    assert points(**apart, tok_s=16.0) > points(tok_s=15.0)


def test_a_pool_that_idle_conversations_cannot_leave_is_worse_than_streams_of_their_own():
    stuck = replace(merit(), is_stuck=True)
    apart = merit(kv_unified=False, n_scratch=0)
    balanced = Goal(), PROFILES
    assert rank(stuck, *balanced) < rank(apart, *balanced) < rank(merit(), *balanced)
