"""Where idle conversations are kept, and how much they may take."""

import selector_specs as specs
from selector_choices import plan_of
from selector_machines import machine

from edgellm.probe.known.boards import hardware_from_board
from edgellm.selector.memory.budget import pool_budgets
from edgellm.units import GIB, format_rate


def test_talkers_share_a_pool_that_the_idle_can_leave():
    plan = plan_of(machine((24, 1000)), use="chat")
    assert plan.kv_unified
    assert plan.n_seq_max == plan.n_parallel + 1  # what is copied goes through an id of its own
    assert 0 < plan.prefix_ram_bytes <= 8 * GIB
    assert plan_of(machine((24, 1000)), use="chat", n_parallel=256).n_seq_max == 256


def test_talkers_get_their_own_streams_where_the_idle_would_stay_in_the_pool():
    whole = plan_of(machine((24, 1000)), use="chat", prefix_ram_bytes=0)
    sliding = plan_of(machine((24, 1000)), specs.ladder(specs.gemma3_27b), use="chat")
    for plan in (whole, sliding):
        assert not plan.kv_unified
        assert plan.n_seq_max == plan.n_parallel
    assert (whole.prefix_ram_bytes, sliding.prefix_ram_bytes > 0) == (0, True)  # for checkpoints
    assert plan_of(machine((24, 1000)), use="batch", prefix_ram_bytes=0).kv_unified


def test_conversations_outlive_the_server_where_they_can_leave_the_cells_or_are_checkpointed():
    kept = plan_of(machine((24, 1000)), use="chat", prefix_disk="/kv")
    sliding = plan_of(machine((24, 1000)), specs.ladder(specs.gemma3_27b), prefix_disk="/kv")
    stays = plan_of(machine((24, 1000)), use="chat", prefix_disk="/kv", prefix_ram_bytes=0)
    assert [plan.prefix_disk for plan in (kept, sliding, stays)] == ["/kv", "/kv", None]


def test_prefixes_get_half_of_what_the_plan_leaves_of_the_hosts_memory():
    plan = plan_of(machine((24, 1000), ram=8), use="chat")
    host = plan.shares[-1]
    budget = pool_budgets(machine((24, 1000), ram=8))["host"]
    assert plan.prefix_ram_bytes == (budget - host.total_bytes) // 2
    assert plan_of(machine((24, 1000)), prefix_ram_bytes=5).prefix_ram_bytes == 5
    assert any("may take" in reason and "--prefix-ram" in reason for reason in plan.reasons)


def test_models_that_share_the_machine_divide_what_prefixes_get_unasked():
    alone = plan_of(machine((24, 1000), ram=64), use="chat")
    assert alone.prefix_ram_bytes == 8 * GIB
    one_of_four = plan_of(machine((24, 1000), ram=64), use="chat", n_turns=4)
    assert one_of_four.prefix_ram_bytes == 2 * GIB
    asked = plan_of(machine((24, 1000), ram=64), use="chat", n_turns=4, prefix_ram_bytes=5)
    assert asked.prefix_ram_bytes == 5


def test_models_that_fit_at_once_fit_with_what_is_kept_of_conversations_too():
    budget = pool_budgets(machine(ram=16))["host"]
    two = plan_of(machine(ram=16), use="chat", n_turns=2, others_bytes=4 * GIB)
    two_bytes = two.total_bytes + two.layout_bytes
    left = budget - two_bytes - 4 * GIB
    assert two.prefix_ram_bytes == left // 2 // 2 > 0
    assert two.most_bytes_by_pool == {"host": two_bytes + two.prefix_ram_bytes}
    in_turns = plan_of(machine(ram=16), use="chat", n_turns=2, others_bytes=budget)
    left = budget - in_turns.total_bytes - in_turns.layout_bytes
    assert in_turns.prefix_ram_bytes == left // 2 // 2


def test_prefixes_never_get_more_than_the_host_has_whatever_is_asked_for():
    plan = plan_of(machine((24, 1000), ram=8), use="chat", prefix_ram_bytes=1 << 40)
    budget = pool_budgets(machine((24, 1000), ram=8))["host"]
    assert 0 < plan.prefix_ram_bytes == budget - plan.shares[-1].total_bytes
    (said,) = [reason for reason in plan.reasons if "may take" in reason]
    assert "not 1.0 TiB as --prefix-ram asks" in said


def test_jobs_get_streams_of_their_own_where_a_cpu_would_look_through_everybodys_cells():
    """16 documents of 2000 tokens took a processor 57 s in one pool, 22 s with a stream each."""
    board = hardware_from_board("epyc-9004")
    jobs = plan_of(board, use="batch")
    assert (jobs.kv_unified, jobs.n_seq_max) == (False, jobs.n_parallel)
    pooled = plan_of(board, use="batch", kv_unified=True, n_parallel=jobs.n_parallel)
    assert pooled.kv_unified
    slower, faster = pooled.batch_tok_s.p50, jobs.batch_tok_s.p50
    assert slower < faster
    told = f"together they would write {format_rate(slower)} instead of {format_rate(faster)}"
    assert any(told in reason for reason in jobs.reasons)
    assert plan_of(board, use="chat").kv_unified  # whose conversations come back
    assert plan_of(machine((24, 1000)), use="batch").kv_unified  # attention is a card's


def test_streams_of_the_hosts_own_cells_are_kept_in_its_memory_and_on_disk():
    board = hardware_from_board("epyc-9004")
    jobs = plan_of(board, use="batch", prefix_disk="/kv")
    assert (jobs.kv_unified, jobs.prefix_disk, jobs.prefix_ram_bytes) == (False, "/kv", 8 * GIB)
    over_a_bus = plan_of(machine((24, 1000)), use="chat", kv_unified=False, prefix_disk="/kv")
    assert (over_a_bus.prefix_disk, over_a_bus.prefix_ram_bytes) == (None, 0)


def test_where_nobody_knows_what_a_pool_costs_a_cpu_jobs_have_streams_all_the_same():
    board = hardware_from_board("desktop-ddr5")
    jobs = plan_of(board, use="batch")
    assert not jobs.kv_unified
    assert plan_of(board, use="batch", kv_unified=True).batch_tok_s == jobs.batch_tok_s
    assert any("pass over all the others' (--kv-unified" in reason for reason in jobs.reasons)
