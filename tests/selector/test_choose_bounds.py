"""What a goal bounds: speed, context, watts, the disk, the bits of a cache."""

import pytest
import selector_specs as specs
from selector_choices import plan_of, refusal_of
from selector_machines import machine, powered, unified

from edgellm.units import GIB


def test_quality_stops_where_it_would_be_too_slow():
    free = plan_of(machine((24, 600)), objective="quality")
    bound = plan_of(machine((24, 600)), objective="quality", min_tok_s=50)
    assert free.decode_tok_s.p50 < 50 <= bound.decode_tok_s.p50
    assert bound.quant != free.quant
    (row,) = [row for row in bound.rejected if row.quant == free.quant]
    assert "--min-tok-s asks for 50" in row.binding


def test_a_pace_that_nothing_reaches_is_refused_with_what_can_be_had():
    error = refusal_of(machine(ram=32), specs.ladder(), min_tok_s=500)
    assert "--min-tok-s asks for 500" in str(error)
    assert "take a smaller model" in error.hint


def test_a_context_that_must_be_is_not_cut():
    candidates = [specs.candidate(specs.dense())]
    pins = {"n_parallel": 1, "use": "agent"}
    assert plan_of(machine(ram=6), candidates, **pins).n_ctx_seq < 16384
    assert plan_of(machine(ram=9), candidates, **pins, min_ctx_seq=16384).n_ctx_seq >= 16384
    error = refusal_of(machine(ram=5.4), candidates, **pins, min_ctx_seq=16384)
    assert "does not fit" in str(error)
    assert "a shorter --min-ctx" in error.hint


def test_a_limit_of_watts_leaves_boards_out_and_says_so():
    hardware = powered(machine((12, 900), (12, 900), ram=128), 350, 350)
    candidates = [specs.candidate(specs.dense(quant="F16"))]
    both = plan_of(hardware, candidates)
    one = plan_of(hardware, candidates, max_watts=400)
    assert (both.power_w, one.power_w) == (700, 350)
    assert len(one.devices) == 1
    assert any("may draw 700 W, more than 400 W" in why for why in one.reasons)


def test_a_split_that_draws_too_much_is_not_called_slow():
    hardware = powered(machine((24, 900), (24, 900)), 350, 350)
    error = refusal_of(hardware, specs.ladder(), max_watts=400, tensor_split=(1.0, 1.0))
    assert str(error).endswith("fits, but may draw 700 W, more than 400 W")
    assert (
        error.hint == "leave -ts to edgellm, which leaves cards out, or allow more by --max-watts"
    )
    assert plan_of(hardware, max_watts=400).power_w <= 400


@pytest.mark.parametrize(
    ("bound", "told"),
    [
        ({"max_watts": 100}, "--max-watts 100"),
        ({"n_gpu_layers": 0}, "-ngl 0"),
        ({"max_watts": 5000}, None),
    ],
)
def test_what_keeps_the_cards_from_work_is_told_where_nothing_is_fast_enough(bound, told):
    hardware = powered(machine((24, 900)), 350)
    error = refusal_of(hardware, specs.ladder(), min_tok_s=9000, **bound)
    assert (f"; with {told} nothing here is faster" in str(error)) == bool(told)
    assert (f", let {told} go, or take" in error.hint) == bool(told)


@pytest.mark.parametrize(
    ("hardware", "flags"),
    [
        (machine((24, 900)), {"n_gpu_layers": 99}),
        (machine((24, 900)), {"n_cpu_moe": 0}),
        (machine(ram=64), {"n_gpu_layers": 0}),
        (machine(ram=64), {"n_gpu_layers": 99}),
    ],
)
def test_flags_that_keep_no_card_from_work_are_not_to_be_let_go(hardware, flags):
    error = refusal_of(hardware, specs.ladder(), min_tok_s=9000, **flags)
    assert str(error).endswith("; nothing here is faster")
    assert "let" not in error.hint


def test_watts_that_no_board_keeps_leave_the_cpu_or_nothing():
    hardware = powered(machine((24, 900)), 350)
    assert plan_of(hardware, max_watts=100).devices == ()
    error = refusal_of(hardware, specs.ladder(), max_watts=100, n_gpu_layers=-1)
    assert "--max-watts 100 leaves no device: Card 0 350 W" in str(error)


def test_boards_that_say_nothing_cannot_be_promised():
    plan = plan_of(machine((24, 900)), max_watts=300)
    assert plan.power_w is None
    assert any("300 W can't be promised" in why for why in plan.reasons)


def test_energy_takes_the_thriftier_board_and_speed_the_faster():
    hardware = powered(machine((24, 1000), (24, 700)), 600, 150)
    fast = plan_of(hardware, objective="speed")
    thrifty = plan_of(hardware, objective="energy")
    assert (fast.devices, thrifty.devices) == (("CUDA0",), ("CUDA1",))
    assert any("J a token at the boards' limit of 150 W" in why for why in thrifty.reasons)


def test_energy_without_a_known_power_says_that_it_goes_by_speed():
    plan = plan_of(machine((24, 1000)), objective="energy")
    assert any("the fastest is taken for the thriftiest" in why for why in plan.reasons)


def test_weights_are_read_from_disk_only_when_asked_for_and_it_is_said():
    candidates = [specs.candidate(specs.llama_70b())]
    refusal_of(machine(ram=24), candidates)
    plan = plan_of(machine(ram=24), candidates, allow_disk=True)
    assert plan.placement.disk_bytes > 15 * GIB
    assert any("read from disk for each token" in why for why in plan.reasons)


def test_where_graphics_share_the_memory_the_cpu_alone_may_read_weights_from_disk():
    candidates, hardware = [specs.candidate(specs.llama_70b())], unified(24, 100, "vulkan")
    refusal_of(hardware, candidates)
    plan = plan_of(hardware, candidates, allow_disk=True)
    assert plan.devices == ()
    assert plan.placement.disk_bytes > 15 * GIB


def test_what_fits_in_memory_is_never_read_from_disk():
    plan = plan_of(machine(ram=24), specs.ladder(), allow_disk=True, objective="quality")
    assert plan.placement.disk_bytes == 0


def test_a_four_bit_cache_is_the_last_resort_and_said():
    candidates, pins = [specs.candidate(specs.dense())], {"n_ctx_seq": 16384, "n_parallel": 1}
    caches = [plan_of(machine(ram=ram), candidates, **pins).kv_type_k for ram in (9, 6.7, 6.0)]
    assert caches == ["f16", "q8_0", "q4_0"]
    plan = plan_of(machine(ram=6.0), candidates, **pins)
    assert any("nothing fits with the usual caches" in why for why in plan.reasons)
    assert any("a good quarter of f16's bytes" in why for why in plan.reasons)
