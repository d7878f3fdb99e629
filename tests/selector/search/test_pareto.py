from itertools import permutations

import selector_specs as specs
from selector_machines import machine

from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal
from edgellm.units import GIB

PROFILES = load_profiles()


def front_of(hardware, candidates=None, **goal):
    plan = choose(hardware, candidates or specs.ladder(), Goal(**goal), PROFILES)
    return plan, plan.pareto


def test_no_row_is_beaten_in_everything_but_perhaps_the_chosen_one():
    plan, rows = front_of(machine((12, 500), ram=32))
    others = [row for row in rows if (row.quant, row.n_ctx_seq) != (plan.quant, plan.n_ctx_seq)]
    for one, other in permutations(others, 2):
        assert not (
            one.kld <= other.kld
            and one.n_ctx_seq >= other.n_ctx_seq
            and one.decode_tok_s.p50 > 1.02 * other.decode_tok_s.p50
        )


def test_the_chosen_plan_is_a_row():
    for hardware in (machine((24, 1000)), machine(ram=16), machine((8, 500), (8, 500))):
        plan, rows = front_of(hardware)
        assert any(
            (row.quant, row.n_ctx_seq, row.n_parallel, row.kv_type, row.total_bytes)
            == (plan.quant, plan.n_ctx_seq, plan.n_parallel, plan.kv_type_k, plan.total_bytes)
            for row in rows
        )


def test_it_is_short_and_in_the_order_of_quality():
    _, rows = front_of(machine((12, 500), ram=32))
    assert 2 <= len(rows) <= 12
    assert [row.kld for row in rows] == sorted(row.kld for row in rows)
    assert all(row.placement for row in rows)


def test_longer_contexts_are_among_what_can_be_traded():
    plan, rows = front_of(machine((24, 1000)))
    assert max(row.n_ctx_seq for row in rows) > plan.n_ctx_seq


def test_a_longer_context_takes_more_cards_before_the_host_takes_layers():
    llama = specs.ladder(lambda quant: specs.llama_70b(quant))
    plan, rows = front_of(machine(*[(24, 936)] * 8, ram=256), llama)
    longest = max(rows, key=lambda row: row.n_ctx_seq)

    assert longest.n_ctx_seq >= 4 * plan.n_ctx_seq
    assert all(
        row.placement.startswith("all layers")
        for row in rows
        if row.total_bytes < 0.9 * 8 * 24 * GIB
    )


def test_a_pinned_context_has_no_longer_ones():
    _, rows = front_of(machine((24, 1000)), n_ctx_seq=4096)
    assert {row.n_ctx_seq for row in rows} == {4096}


def test_an_embedding_model_trades_nothing():
    _, rows = front_of(machine(), [specs.candidate(specs.bert())])
    assert rows == ()
