"""The other layout of KV cells that a plan may change to: where there is one, and which."""

from dataclasses import replace

import pytest
import selector_specs as specs
from selector_choices import plan_of
from selector_machines import machine

from edgellm.models.repo_files import RepoFile
from edgellm.selector.plan import laid_out

HOST = machine(ram=32)


@pytest.mark.parametrize("use", ["chat", "batch"])
def test_on_a_cpu_a_pool_has_streams_beside_it_and_streams_a_pool(use):
    plan = plan_of(HOST, use=use)
    other = laid_out(plan)
    assert plan.kv_unified == (use == "chat")
    assert other.kv_unified != plan.kv_unified
    pool, streams = (plan, other) if plan.kv_unified else (other, plan)
    assert pool.n_seq_max == streams.n_seq_max + 1  # what is copied goes through an id of its own
    assert pool.n_outputs_max == streams.n_outputs_max + 1
    same = {"n_ctx", "n_ctx_seq", "n_parallel", "kv_type_k", "kv_type_v", "prefix_ram_bytes"}
    assert all(getattr(pool, name) == getattr(streams, name) for name in same)
    assert laid_out(other) == plan


@pytest.mark.parametrize(
    "pinned",
    [
        {"kv_unified": True},
        {"kv_unified": False},
        {"batch_invariant": True},
        {"prefix_ram_bytes": 0},
        {"n_parallel": 1},
    ],
    ids=lambda pinned: " ".join(pinned),
)
def test_what_is_pinned_or_asked_for_stays_as_it_is(pinned):
    assert plan_of(HOST, **{"use": "chat"} | pinned).other_layout is None


def test_where_an_accelerator_computes_nothing_changes():
    assert plan_of(machine((24, 1000)), use="chat").other_layout is None


def test_what_carries_more_than_cells_keeps_its_layout():
    assert plan_of(HOST, specs.ladder(specs.gemma3_27b), use="chat").other_layout is None


def test_where_pictures_or_another_model_belong_to_it_nothing_changes():
    seeing = [
        replace(one, projector=RepoFile("mmproj.gguf", 1 << 20), projector_bytes=1 << 20)
        for one in specs.ladder()
    ]
    assert plan_of(HOST, seeing, use="chat").other_layout is None
