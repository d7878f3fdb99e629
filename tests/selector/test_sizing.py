from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine

from edgellm.errors import BadRequest, DoesNotFit
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal
from edgellm.selector.sizing import Demand, size
from edgellm.selector.telling.describe import placement_text

PROFILES = load_profiles()
DEMAND = Demand(n_users=50, tok_s=20, ttft_s=2)


def named(hardware, name: str, watts: float | None = None):
    cards = tuple(
        replace(device, name=name, board_power_w=watts) for device in hardware.accelerators
    )
    return replace(hardware, devices=(*cards, hardware.devices[-1]))


BOARDS = [
    ("slow", named(machine((24, 300)), "T4", 70)),
    ("one", named(machine((24, 936)), "RTX 3090", 350)),
    ("four", named(machine(*[(24, 936)] * 4, ram=128), "RTX 3090", 350)),
    ("cpu", machine(ram=32, ram_bandwidth=20)),
]


def rows_of(demand=DEMAND, boards=BOARDS, candidates=None, **goal):
    return size(boards, candidates or specs.ladder(), demand, Goal(**goal), PROFILES)


def by_board(rows):
    return {row.board: row for row in rows}


def test_the_fewest_cards_come_first():
    rows = rows_of()
    assert [row.n_devices for row in rows] == sorted(row.n_devices for row in rows)
    assert all(row.n_boards * row.n_users >= 50 for row in rows)
    assert all((row.n_boards - 1) * row.n_users < 50 for row in rows)


def test_a_model_that_writes_nothing_has_no_users_to_write_for():
    with pytest.raises(BadRequest, match="embedding model") as raised:
        rows_of(candidates=[specs.candidate(specs.bert())])
    assert "--users" in raised.value.hint


def test_of_a_large_machine_only_the_cards_that_the_users_take_count():
    """Eight cards hold many more than are asked for: that is no reason to rank them last, nor to
    count what they all draw."""
    few = Demand(n_users=3, tok_s=20, ttft_s=2)
    eight = named(machine(*[(24, 936)] * 8, ram=256), "RTX 3090", 350)
    rows = by_board(rows_of(few, [("eight", eight), BOARDS[1]]))

    assert rows["eight"].n_users > 8
    assert rows["eight"].n_devices == rows["one"].n_devices == 1
    assert rows["eight"].total_power_w == rows["one"].total_power_w == 350
    assert rows["eight"].power_w == 8 * 350


def test_two_fast_cards_stand_above_more_slow_ones_in_fewer_machines():
    demand = Demand(n_users=38, tok_s=30)
    slow = named(machine(*[(24, 300)] * 8, ram=256), "T4", 70)
    fast = named(machine((24, 2000)), "Fast", 500)
    rows = rows_of(demand, [("slow", slow), ("fast", fast)])

    assert [row.board for row in rows] == ["fast", "slow"]
    assert rows[0].n_boards > rows[1].n_boards
    assert rows[0].n_devices < rows[1].n_devices


def test_among_equally_many_the_thriftiest_comes_first():
    boards = [
        ("thirsty", named(machine((24, 936)), "Thirsty", 600)),
        ("silent", named(machine((24, 936)), "Silent", None)),
        ("thrifty", named(machine((24, 936)), "Thrifty", 200)),
    ]
    assert [row.board for row in rows_of(boards=boards)] == ["thrifty", "thirsty", "silent"]


def test_each_of_the_users_gets_what_was_asked_for():
    for row in rows_of():
        assert row.decode_tok_s.p50 >= 20
        assert row.ttft_s.p50 <= 2


def test_one_user_more_would_not():
    row = by_board(rows_of(candidates=[specs.candidate(specs.dense())]))["slow"]
    assert row.binding in ("memory", "tok/s", "first token")
    assert row.n_users < 256


def test_cards_of_a_kind_run_copies_and_hold_more_together():
    rows = by_board(rows_of(candidates=[specs.candidate(specs.dense(quant="Q8_0"))]))
    assert rows["four"].n_instances == 4
    assert rows["four"].n_users >= 3 * rows["one"].n_users
    assert rows["four"].power_w == 1400


def alike(n: int, **facts):
    """A server with n cards of 80 GiB."""
    return named(machine(*[(76, 3350)] * n, ram=190, ram_bandwidth=300, **facts), "H100", 700)


@pytest.mark.parametrize("use", ["chat", "agent"])
@pytest.mark.parametrize("tok_s", [5, 20, 60])
def test_a_card_alone_holds_at_least_what_it_holds_among_others(use, tok_s):
    boards = [(str(n), alike(n)) for n in (1, 2, 8)]
    candidates = [specs.candidate(specs.dense(quant="Q8_0"))]
    rows = by_board(rows_of(Demand(50, tok_s, 2), boards, candidates, use=use))
    for n in (2, 8):
        assert rows[str(n)].n_instances == n
        assert rows[str(n)].n_users <= n * rows["1"].n_users


def test_a_smaller_cache_whole_on_the_card_comes_before_a_layer_on_the_host():
    candidates = [specs.candidate(specs.dense(quant="Q8_0"))]
    row = by_board(rows_of(Demand(50, 20, 1), [("one", alike(1))], candidates))["one"]
    plain = by_board(rows_of(Demand(50, 20, 1), [("one", alike(1))], candidates, kv_type_k="f16"))[
        "one"
    ]
    assert (row.kv_type, row.placement) == ("q8_0", "all layers on 1 device")
    assert row.n_users > 1.5 * plain.n_users


def test_so_many_users_find_a_plan_that_is_placed_the_same_way():
    candidates = [specs.candidate(specs.dense(quant="Q8_0"))]
    for name, hardware in (("one", alike(1)), BOARDS[1]):
        row = by_board(rows_of(Demand(50, 20, 1), [(name, hardware)], candidates))[name]
        plan = choose(hardware, candidates, Goal(n_parallel=row.n_users, n_ctx_seq=8192), PROFILES)
        assert placement_text(plan.placement, candidates[0].spec.n_layers) == row.placement
        assert plan.kv_type_k == row.kv_type


@pytest.mark.parametrize("use", ["chat", "agent"])
def test_what_memory_bounds_is_bounded_to_the_last_user(use):
    candidates, hardware = [specs.candidate(specs.dense(quant="Q8_0"))], alike(1)
    pins = {"use": use, "n_gpu_layers": -1, "n_ubatch": PROFILES.workload(use).n_ubatch}
    row = by_board(rows_of(Demand(5, 1), [("one", hardware)], candidates, **pins))["one"]
    exact = Goal(**pins, n_ctx_seq=row.n_ctx_seq, kv_type_k=row.kv_type, n_parallel=row.n_users)
    assert row.binding == "memory"
    assert choose(hardware, candidates, exact, PROFILES)
    with pytest.raises(DoesNotFit):
        choose(hardware, candidates, replace(exact, n_parallel=row.n_users + 1), PROFILES)


@pytest.mark.parametrize("use", ["chat", "agent"])
@pytest.mark.parametrize("n_users", [2, 8])
def test_nobody_is_slowed_by_layers_on_the_host_where_one_machine_does_without(use, n_users):
    candidates = [specs.candidate(specs.dense())]
    boards = [("card", named(machine((12, 900), ram=128, ram_bandwidth=80), "Card"))]
    (most,) = rows_of(Demand(1, 1), boards, candidates, use=use)
    assert "all" in most.placement
    (row,) = rows_of(Demand(min(n_users, most.n_users), 1), boards, candidates, use=use)
    assert row.placement == most.placement
    assert row.n_boards == 1


def test_layers_go_to_the_host_where_that_saves_a_machine():
    candidates = [specs.candidate(specs.dense())]
    boards = [("card", named(machine((12, 900), ram=128, ram_bandwidth=80), "Card"))]
    (few,) = rows_of(Demand(1, 1), boards, candidates)
    (many,) = rows_of(Demand(few.n_users + 1, 1), boards, candidates)
    assert many.n_boards == 1
    assert many.n_users > few.n_users


def test_a_projector_beside_the_model_leaves_room_for_fewer():
    plain = specs.candidate(specs.dense())
    seeing = replace(plain, projector_bytes=4 << 30)
    without, beside = (by_board(rows_of(Demand(50, 2), candidates=[c])) for c in (plain, seeing))
    assert beside["one"].n_users < without["one"].n_users


def test_layers_pinned_to_the_host_stay_there():
    candidates = [specs.candidate(specs.dense(quant="Q8_0"))]
    rows = rows_of(Demand(2, 1), [("two", alike(2))], candidates, n_gpu_layers=20)
    assert [row.n_instances for row in rows] == [1]
    assert rows[0].placement.startswith("20 of ")


def test_a_machine_that_holds_nobody_is_left_out():
    demand = Demand(n_users=5, tok_s=60)
    rows = rows_of(demand, candidates=[specs.candidate(specs.llama_70b())])
    assert "cpu" not in by_board(rows)


def test_a_stricter_service_holds_fewer():
    one_file = [specs.candidate(specs.dense())]
    easy = by_board(rows_of(Demand(50, 10), candidates=one_file))
    hard = by_board(rows_of(Demand(50, 60), candidates=one_file))
    assert hard
    for board, row in hard.items():
        assert row.n_users <= easy[board].n_users


def test_the_best_quality_that_needs_no_more_machines_is_taken():
    few = by_board(rows_of(Demand(2, 5)))
    assert few["four"].quant == "F16"


def test_the_context_of_each_user_is_the_uses_or_the_pinned_one():
    assert {row.n_ctx_seq for row in rows_of()} == {8192}
    pinned = by_board(rows_of(n_ctx_seq=32768))
    assert pinned["one"].n_ctx_seq == 32768
    assert pinned["one"].n_users <= by_board(rows_of())["one"].n_users


@pytest.mark.parametrize(
    ("demand", "words"),
    [
        (Demand(0, 20), "--users is 0"),
        (Demand(5, 0), "--tok-s is 0"),
        (Demand(5, float("nan")), "--tok-s is nan"),
        (Demand(5, 20, -1), "--ttft is -1"),
    ],
)
def test_a_demand_that_cannot_be_is_refused(demand, words):
    with pytest.raises(BadRequest, match=words):
        rows_of(demand)
