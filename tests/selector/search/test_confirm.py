"""The oracle's figures replace the arithmetic's, and what doesn't fit by them is chosen again."""

from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine

from edgellm.errors import DoesNotFit
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose, smaller
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.memory.layout import layout_of
from edgellm.selector.memory.memory import needs
from edgellm.selector.oracle import BufferBytes
from edgellm.selector.plan import Goal
from edgellm.units import GIB, MIB

PROFILES = load_profiles()


class FakeOracle:
    """The arithmetic's answer, and so many bytes more for each device."""

    def __init__(self, more_bytes: int = 0, answers: bool = True) -> None:
        self.more_bytes, self.answers, self.n_asked = more_bytes, answers, 0

    def measure(self, candidate, shape, placement, hardware):
        self.n_asked += 1
        assert len(placement.shares) == len(placement.device_ids) + 1
        if not self.answers:
            return None
        rows = needs(candidate.spec, shape, layout_of(placement, hardware))
        return tuple(
            BufferBytes(row.weight_bytes, row.kv_bytes, row.compute_bytes + self.more_bytes)
            for row in rows
        )


class Stubborn(FakeOracle):
    """Always a GiB more than there is."""

    def measure(self, candidate, shape, placement, hardware):
        self.n_asked += 1
        return tuple(
            BufferBytes(share.weight_bytes, share.kv_bytes, 100 * GIB) for share in placement.shares
        )


def plan_with(oracle, hardware=None, candidates=None, **goal):
    return choose(
        hardware or machine((24, 1000)),
        candidates or specs.ladder(),
        Goal(**goal),
        PROFILES,
        oracle,
    )


def test_its_bytes_are_the_plans():
    oracle = FakeOracle(more_bytes=10 * MIB)
    told = plan_with(oracle)
    added_up = plan_with(None)
    assert told.bytes_from == "oracle"
    assert added_up.bytes_from == "arithmetic"
    assert oracle.n_asked == 1
    for share, other in zip(told.shares, added_up.shares, strict=True):
        assert share.compute_bytes == other.compute_bytes + 10 * MIB
        assert replace(share, compute_bytes=0) == replace(other, compute_bytes=0)
    assert any(row.total_bytes == told.total_bytes for row in told.pareto)


def test_who_cannot_answer_leaves_the_arithmetic():
    oracle = FakeOracle(answers=False)
    assert replace(plan_with(oracle), bytes_from="arithmetic") == plan_with(None)
    assert oracle.n_asked == 1


def test_what_needs_more_than_fits_is_chosen_again_within_a_margin():
    hardware, candidates = machine((12, 900), ram=64), [specs.candidate(specs.llama_70b())]
    plain = plan_with(None, hardware, candidates)
    oracle = FakeOracle(more_bytes=2 * GIB)
    careful = plan_with(oracle, hardware, candidates)
    assert oracle.n_asked == 2
    assert careful.placement.n_gpu_layers < plain.placement.n_gpu_layers
    assert careful.shares[0].total_bytes <= pool_budgets(hardware)["gpu0"]
    assert any(
        "2.0 GiB more than was added up: chosen again once" in why for why in careful.reasons
    )


def test_an_oracle_that_is_never_content_ends_in_a_refusal():
    oracle = Stubborn()
    with pytest.raises(DoesNotFit) as raised:
        plan_with(oracle)
    assert oracle.n_asked <= 4
    assert "GiB" in str(raised.value)


def test_a_smaller_plan_is_confirmed_too():
    oracle, hardware = FakeOracle(more_bytes=10 * MIB), machine((24, 1000))
    plan = plan_with(oracle)
    less = smaller(plan, hardware, specs.ladder(), Goal(), PROFILES, oracle)
    assert less.bytes_from == "oracle"
    assert less.shares[0].total_bytes <= 0.9 * plan.shares[0].total_bytes
