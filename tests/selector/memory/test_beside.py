from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine, unified

from edgellm.errors import DoesNotFit
from edgellm.models.repo_files import RepoFile
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose, smaller
from edgellm.selector.memory.beside import beside
from edgellm.selector.plan import Goal
from edgellm.units import GIB, MIB

PROFILES = load_profiles()
PLAIN = specs.ladder()


def seeing(n_bytes, candidates=PLAIN):
    projector = RepoFile("/models/mmproj-F16.gguf", n_bytes)
    return [replace(one, projector=projector, projector_bytes=n_bytes) for one in candidates]


def plan_of(hardware, candidates):
    return choose(hardware, candidates, Goal(), PROFILES)


def test_it_is_on_the_first_accelerator_or_with_the_host():
    card, host = machine((24, 1000)), machine(ram=16)
    assert beside(card, seeing(GIB)) == {card.accelerators[0].pool_id: GIB}
    assert beside(host, seeing(GIB)) == {host.host.id: GIB}
    assert beside(unified(), seeing(GIB)) == {unified().host.id: GIB}
    assert set(beside(card, PLAIN).values()) == {0}


def test_the_plan_counts_it_and_says_so():
    plain, sees = (plan_of(machine((24, 1000)), c) for c in (PLAIN, seeing(800 * MIB)))
    first = sees.shares[0]
    assert first.overhead_bytes - plain.shares[0].overhead_bytes == 800 * MIB
    assert [share.overhead_bytes for share in sees.shares[1:]] == [
        share.overhead_bytes for share in plain.shares[1:]
    ]
    assert sees.projector == "/models/mmproj-F16.gguf"
    assert any("mmproj-F16.gguf, which takes 800.0 MiB" in reason for reason in sees.reasons)
    assert plain.projector is None


def test_what_it_takes_the_model_does_without():
    hardware = machine((8, 300))
    plain, sees = plan_of(hardware, PLAIN), plan_of(hardware, seeing(2 * GIB))
    assert sees.shares[0].total_bytes <= 8 * GIB
    model_bytes = sees.shares[0].total_bytes - 2 * GIB
    assert model_bytes < plain.shares[0].total_bytes


def test_one_that_leaves_no_room_for_a_model_does_not_fit():
    with pytest.raises(DoesNotFit):
        plan_of(machine(ram=8), seeing(7 * GIB))


def test_a_projector_whose_size_nobody_knows_is_not_used():
    plan = plan_of(machine((24, 1000)), seeing(0))
    assert plan.projector is None


def test_after_an_out_of_memory_the_smaller_plan_sees_too():
    hardware, candidates = machine((24, 1000)), seeing(800 * MIB)
    failed = plan_of(hardware, candidates)
    less = smaller(failed, hardware, candidates, Goal(), PROFILES)
    assert less.projector == failed.projector
    assert less.shares[0].total_bytes <= 0.9 * failed.shares[0].total_bytes
