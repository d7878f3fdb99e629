"""The other layouts that a plan may change to: where there are any, and which."""

from dataclasses import replace

import pytest
import selector_specs as specs
from selector_choices import plan_of
from selector_machines import machine

from edgellm.models.repo_files import RepoFile
from edgellm.selector.plan import laid_out, layout_of

HOST = machine(ram=32)


def ways(plan):
    """Of its layouts, the present one first: whether it is a pool, and has flash attention."""
    return [(one.kv_unified, not one.attends_plainly) for one in layouts(plan)]


def layouts(plan):
    return (layout_of(plan), *plan.other_layouts)


@pytest.mark.parametrize("use", ["chat", "batch"])
def test_on_a_cpu_a_pool_has_streams_beside_it_and_streams_a_pool(use):
    plan = plan_of(HOST, use=use)
    here = use == "chat"
    assert ways(plan) == [(here, True), (here, False), (not here, True), (not here, False)]
    other = laid_out(plan, plan.other_layouts[1])
    pool, streams = (plan, other) if plan.kv_unified else (other, plan)
    assert pool.n_seq_max == streams.n_seq_max + 1  # what is copied goes through an id of its own
    assert pool.n_outputs_max == streams.n_outputs_max + 1
    same = {"n_ctx", "n_ctx_seq", "n_parallel", "n_ubatch", "kv_type_k", "kv_type_v"}
    assert all(getattr(pool, name) == getattr(streams, name) for name in same)


def test_from_each_layout_all_others_can_be_had():
    plan = plan_of(HOST, use="chat")
    for there in plan.other_layouts:
        gone = laid_out(plan, there)
        assert set(layouts(gone)) == set(layouts(plan))
        back = laid_out(gone, layout_of(plan))
        assert replace(back, other_layouts=plan.other_layouts) == plan


def test_without_flash_attention_a_batch_is_smaller_unless_its_size_was_asked_for():
    plan = plan_of(HOST, use="chat")
    plain = [one for one in plan.other_layouts if one.attends_plainly]
    assert {one.n_ubatch for one in plain} == {128}
    assert plan.n_ubatch == 512
    asked = plan_of(HOST, use="chat", n_ubatch=256)
    assert {one.n_ubatch for one in layouts(asked)} == {256}
    off = plan_of(HOST, use="chat", flash_attention=False)
    assert {one.n_ubatch for one in layouts(off)} == {512}
    many = plan_of(HOST, use="batch", n_parallel=200, n_ctx_seq=1024)
    assert all(one.n_ubatch >= one.n_seq_max for one in layouts(many))


def test_a_layout_whose_buffers_find_no_room_is_none():
    """Without flash attention there is a number for each row, head and cell: of a whole pool."""
    plan = plan_of(HOST, use="chat", n_ubatch=2048, n_ctx_seq=32768, n_parallel=4)
    assert ways(plan) == [(True, True), (False, True), (False, False)]


@pytest.mark.parametrize(
    ("pinned", "left"),
    [
        ({"kv_unified": True}, [(True, True), (True, False)]),
        ({"kv_unified": False}, [(False, True), (False, False)]),
        ({"n_parallel": 1}, [(True, True), (True, False)]),
        ({"flash_attention": True}, [(True, True), (False, True)]),
        ({"flash_attention": False}, [(True, False), (False, False)]),
        ({"kv_type_k": "q8_0", "kv_type_v": "q8_0"}, [(True, True), (False, True)]),
        ({"n_ctx_seq": 512}, [(True, True), (False, True)]),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, dict) else "",
)
def test_what_is_pinned_stays_and_the_rest_may_change(pinned, left):
    assert ways(plan_of(HOST, **{"use": "chat"} | pinned)) == left


@pytest.mark.parametrize(
    "pinned",
    [
        {"batch_invariant": True},
        {"prefix_ram_bytes": 0},
        {"kv_unified": True, "flash_attention": True},
        {"n_parallel": 1, "flash_attention": False},
    ],
    ids=lambda pinned: " ".join(pinned),
)
def test_where_all_is_pinned_nothing_changes(pinned):
    assert plan_of(HOST, **{"use": "chat"} | pinned).other_layouts == ()


def test_where_an_accelerator_computes_nothing_changes():
    assert plan_of(machine((24, 1000)), use="chat").other_layouts == ()


def test_what_carries_more_than_cells_keeps_its_layout():
    assert plan_of(HOST, specs.ladder(specs.gemma3_27b), use="chat").other_layouts == ()


def test_where_pictures_or_another_model_belong_to_it_nothing_changes():
    seeing = [
        replace(one, projector=RepoFile("mmproj.gguf", 1 << 20), projector_bytes=1 << 20)
        for one in specs.ladder()
    ]
    assert plan_of(HOST, seeing, use="chat").other_layouts == ()


def test_what_another_layout_takes_more_is_left_for_it():
    plan = plan_of(HOST, use="chat")
    assert plan.layout_bytes > 0
    host = plan.most_bytes_by_pool["host"]
    assert host == plan.total_bytes + plan.prefix_ram_bytes + plan.layout_bytes
    asked = plan_of(HOST, use="chat", prefix_ram_bytes=1 << 40)
    pinned = plan_of(HOST, use="chat", prefix_ram_bytes=1 << 40, flash_attention=True)
    assert asked.prefix_ram_bytes == pinned.prefix_ram_bytes - asked.layout_bytes
