from dataclasses import replace
from itertools import pairwise

import pytest
import selector_specs as specs
from selector_machines import GB_S, machine

from edgellm.models.known import catalog
from edgellm.models.spec import LayerSpec
from edgellm.probe.known import catalog as devices
from edgellm.probe.known.boards import hardware_from_board
from edgellm.probe.known.described import hardware_from_devices
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.plan import Goal, Placement, Range, Share
from edgellm.selector.speed.speed import decode_tok_s, prefill_tok_s, ttft_s
from edgellm.selector.speed.speed_profile import Calibration

SPEED = load_profiles().speed
SHAPE = ContextShape(4096, n_seq_max=1, n_ubatch=512, n_outputs_max=1)


def whole(spec, hardware, **changes) -> Placement:
    """All layers in equal parts on the accelerators."""
    n_all, devices = spec.n_layers + 1, hardware.accelerators
    shares = [
        Share(device.id, device.pool_id, tuple(range(i * n_all // len(devices),
              (i + 1) * n_all // len(devices))), 0, 0, 0)
        for i, device in enumerate(devices)
    ]  # fmt: skip
    return Placement((*shares, Share("cpu", "host", (), 0, 0, 0)), n_all, **changes)


def half(spec, n_host: int, *, experts: int = 0, **changes) -> Placement:
    """The first layers, or the experts of the first, on the host."""
    card = Share("gpu0", "gpu0", tuple(range(n_host, spec.n_layers + 1)), 0, 0, 0)
    expert_layers = tuple(range(n_host, experts))
    host = Share("cpu", "host", tuple(range(n_host)), 10**10, 0, 0, expert_layers=expert_layers)
    placement = Placement((card, host), spec.n_layers + 1 - n_host, n_cpu_moe=experts)
    return replace(placement, **changes)


def decode(spec, hardware, placement=None, profile=SPEED, shape=SHAPE, **changes) -> Range:
    placement = placement or whole(spec, hardware)
    return decode_tok_s(spec, shape, placement, hardware, profile, **changes)


def prefill(spec, hardware, placement=None, profile=SPEED, shape=SHAPE, **changes) -> Range:
    placement = placement or whole(spec, hardware)
    return prefill_tok_s(spec, shape, placement, hardware, profile, **changes)


def with_bandwidths(hardware, host_gb_s: float):
    pools = (
        replace(pool, bandwidth_bytes_s=host_gb_s * GB_S) if pool.id == "host" else pool
        for pool in hardware.pools
    )
    return replace(hardware, pools=tuple(pools))


def with_cards(hardware, **facts):
    *cards, cpu = hardware.devices
    return replace(hardware, devices=(*(replace(card, **facts) for card in cards), cpu))


@pytest.mark.parametrize(
    ("device", "tok_s"),
    [
        # llama.cpp discussion 15013, Llama-2-7B Q4_0 tg128; August 2025
        ("RTX 4090", 189),
        ("RTX 5090", 277),
        ("H100 SXM 80GB", 268),
        ("A100 SXM 80GB", 191),
        ("RTX 5060 Ti 16GB", 91),
    ],
)
def test_published_decode_rates_lie_in_the_stated_range(device, tok_s):
    spec = catalog.spec(catalog.find("llama2:7b"), "Q4_0")
    rate = decode(spec, hardware_from_devices([device]), depth=64)
    assert rate.p10 <= tok_s <= rate.p90


@pytest.mark.parametrize(("gb_s", "roofline"), [(3350, 24), (1008, 7.2)])
def test_nothing_decodes_faster_than_memory_can_be_read(gb_s, roofline):
    assert decode(specs.llama_70b("F16"), machine((192, gb_s))).p50 <= roofline


def test_a_deep_context_is_slower():
    spec, card = specs.dense(), machine((192, 1000))
    assert decode(spec, card, depth=32768).p50 < 0.7 * decode(spec, card, depth=0).p50
    assert prefill(spec, card, depth=32768).p50 < 0.7 * prefill(spec, card, depth=0).p50


def test_without_flash_attention_depth_costs_more():
    spec, card = specs.dense(), machine((192, 1000))
    plain = replace(SHAPE, flash_attention=False)
    assert decode(spec, card, depth=0, shape=plain).p50 == decode(spec, card, depth=0).p50
    assert decode(spec, card, depth=8192, shape=plain).p50 < decode(spec, card, depth=8192).p50


def test_a_quantized_cache_is_read_sooner():
    spec, card = specs.dense(), machine((192, 1000))
    small = replace(SHAPE, kv_type_k="q8_0", kv_type_v="q8_0")
    deep = {"depth": 65536}
    assert decode(spec, card, shape=small, **deep).p50 > 1.2 * decode(spec, card, **deep).p50


def test_times_add_over_devices_and_every_hop_costs():
    spec = specs.dense()
    one = decode(spec, machine((24, 500)))
    two, four = (decode(spec, machine(*[(24, 500)] * n)) for n in (2, 4))
    assert one.p50 > two.p50 > four.p50 > 0.8 * one.p50


def test_a_weak_card_beside_a_strong_one_slows_it():
    spec = specs.dense()
    strong, mixed = machine((24, 1000)), machine((24, 1000), (24, 200))
    assert decode(spec, mixed).p50 < 0.5 * decode(spec, strong).p50


def test_side_by_side_two_cards_are_faster_than_one_after_the_other():
    spec, cards = specs.llama_70b(), machine((48, 800), (48, 800))
    in_turn = decode(spec, cards)
    together = decode(spec, cards, whole(spec, cards, split_mode="tensor"))
    assert 1.3 * in_turn.p50 < together.p50 < 2 * in_turn.p50
    assert together.p90 / together.p10 > in_turn.p90 / in_turn.p10


def test_side_by_side_each_doubling_of_the_cards_adds_a_round_to_every_sum():
    spec = specs.dense(quant="F16")

    def step_s(n):
        cards = machine(*[(48, 1e6)] * n)  # reading takes no time, waiting does
        return 1 / decode(spec, cards, whole(spec, cards, split_mode="tensor")).p50

    two, three, four, eight = map(step_s, (2, 3, 4, 8))
    assert four - two == pytest.approx(eight - four, rel=0.1)
    assert three == pytest.approx(eight, rel=0.1)  # folded in before, told after


def test_the_link_between_cards_prices_a_tensor_split():
    spec, cards = specs.dense(), machine((24, 900), (24, 900))
    placement = whole(spec, cards, split_mode="tensor")
    slow = with_cards(cards, link="PCIe 3.0 x1")
    fast = with_cards(cards, peer_bytes_s=600e9)
    prompt = {"placement": placement}
    assert prefill(spec, slow, **prompt).p50 < 0.5 * prefill(spec, fast, **prompt).p50


def test_a_long_prompt_overlaps_on_whole_devices_in_a_row():
    spec = specs.llama_70b()
    one, four = machine((192, 1000)), machine(*[(48, 1000)] * 4)
    assert prefill(spec, four).p50 > 1.3 * prefill(spec, one).p50
    short = {"n_prompt": 100}
    alone = ttft_s(spec, SHAPE, whole(spec, one), one, SPEED, **short)
    in_a_row = ttft_s(spec, SHAPE, whole(spec, four), four, SPEED, **short)
    assert in_a_row.p50 > alone.p50


def test_streams_together_are_faster_than_one_and_slower_than_so_many():
    spec, card = specs.dense(), machine((80, 1000))
    rates = [decode(spec, card, n_streams=n, depth=1000).p50 for n in (1, 4, 16, 64)]
    assert rates == sorted(rates)
    assert rates[2] < 16 * rates[0]


def test_weights_are_read_once_for_all_streams():
    """8B on a card of 3.3 TB/s: a step of four streams takes less than two of one."""
    spec = catalog.spec(catalog.find("llama3.1:8b"), "Q4_K_M")
    card = hardware_from_devices(["H100 SXM 80GB"])
    rates = [decode(spec, card, n_streams=n).p50 for n in (1, 4, 8)]
    assert rates[1] > 2 * rates[0]
    assert rates[2] > 1.2 * rates[1]


@pytest.mark.parametrize(
    ("n_tokens", "tok_s"),
    # llama.cpp PR 15131 (10 and 16) and PR 7676, RTX 4090, Llama-3-8B Q4_0, pp512 in micro-batches:
    # as many rows a step as there would be streams, but one cache.
    [(10, 1217), (16, 1931), (32, 3427), (64, 5420), (128, 7443)],
)
def test_steps_of_several_rows_take_as_long_as_published(n_tokens, tok_s):
    spec = catalog.spec(catalog.find("llama3:8b"), "Q4_0")
    rate = decode(spec, hardware_from_devices(["RTX 4090"]), n_streams=n_tokens, depth=2)
    assert rate.p50 == pytest.approx(tok_s, rel=0.15)


def test_one_die_computes_alike_whatever_memory_is_beside_it():
    """A step of some streams waits for the vector lanes: faster memory then saves only reading."""
    spec = catalog.spec(catalog.find("llama3.3:70b"), "Q4_K_M")
    h100, h200 = (hardware_from_devices([f"H{n}"]) for n in ("100 SXM 80GB", "200 SXM 141GB"))
    same = [one.accelerators[0].vector_flops_s for one in (h100, h200)]
    assert same[0] == same[1] > 0
    alone = decode(spec, h200).p50 / decode(spec, h100).p50
    eight = (decode(spec, one, n_streams=8, depth=0).p50 for one in (h200, h100))
    together = next(eight) / next(eight)
    assert alone < 4800 / 3350
    assert 1 <= together < 1.2
    small, large = (hardware_from_devices([f"A100 SXM {gb}GB"]) for gb in (40, 80))
    assert small.accelerators[0].vector_flops_s == large.accelerators[0].vector_flops_s


def test_where_the_matrix_units_are_no_measure_every_known_die_tells_its_lanes():
    """Else it would get them by its memory's bandwidth, which its sisters don't share."""
    by_lanes = [family for family in SPEED.families if family.vector_flops_per_byte is not None]
    dies = [
        device
        for row in devices.load().device
        for device in hardware_from_devices([row.name]).accelerators
        if SPEED.family(device) in by_lanes
    ]
    assert len(dies) > 15
    assert [device.name for device in dies if device.vector_flops_s is None] == []


def prompts_on(board: str, *quants: str) -> list[float]:
    entry, machine = catalog.find("qwen3:8b"), hardware_from_board(board)
    specs_ = [catalog.spec(entry, quant) for quant in quants]
    return [prefill(spec, machine, on_cpu(spec)).p50 for spec in specs_]


@pytest.mark.parametrize("board", ["rpi5", "m4-16"])
def test_on_arm_prompts_go_by_what_llama_cpp_repacks_there(board):
    """llama.cpp PRs 18096 and 18888, qwen3 8B on an M4 Max: Q8_0 160, Q4_K_M 106, Q6_K 95 tok/s,
    43 before it was repacked."""
    q8, q4, q5, q6, q3 = prompts_on(board, "Q8_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q3_K_M")
    assert q8 > q4 > max(q5, q6)
    assert q4 / q6 == pytest.approx(106 / 95, rel=0.2)
    assert min(q5, q6) > 1.5 * q3, "nothing repacks q3_K"


def test_on_x86_it_is_another_order():
    zen5 = replace(hardware_from_board("rpi5"), cpu=zen5_core().cpu)
    rates = []
    for quant in ("Q5_K_M", "Q4_K_M", "Q8_0"):
        spec = catalog.spec(catalog.find("qwen3:8b"), quant)
        rates.append(prefill(spec, zen5, on_cpu(spec)).p50)
    assert rates == sorted(rates, reverse=True)


def zen5_core():
    """The machine of the figures below: one core of an EPYC with AVX-512."""
    hardware = with_bandwidths(machine(), 50)
    cpu = replace(hardware.cpu, n_physical_cores=1, isa=("avx2", "avx512f", "avx512_vnni"))
    return replace(hardware, cpu=cpu)


def on_cpu(spec) -> Placement:
    return Placement((Share("cpu", "host", tuple(range(spec.n_layers + 1)), 0, 0, 0),), 0)


@pytest.mark.parametrize(
    ("n_rows", "flash", "plain"),
    # ms that 1000 more cells for each of so many streams add to a step, nothing shared, one pool
    [(1, 41, 26), (4, 217, 79), (8, 607, 364)],
)
def test_a_pool_of_strangers_on_the_cpu_takes_as_long_as_measured(n_rows, flash, plain):
    spec, core = catalog.spec(catalog.find("qwen3:0.6b"), "Q4_0"), zen5_core()
    for is_flash, measured_ms in ((True, flash), (False, plain)):
        shape = replace(SHAPE, n_seq_max=n_rows, flash_attention=is_flash)
        near_s, far_s = (
            n_rows / decode(spec, core, on_cpu(spec), shape=shape, depth=n, n_streams=n_rows).p50
            for n in (500, 1500)
        )
        assert 1000 * (far_s - near_s) == pytest.approx(measured_ms, rel=0.4)


def test_others_cells_cost_only_in_a_pool():
    spec, core = catalog.spec(catalog.find("qwen3:0.6b"), "Q4_0"), zen5_core()
    facts = {"depth": 1000, "n_streams": 8}
    for is_flash in (True, False):
        shape = replace(SHAPE, n_seq_max=8, flash_attention=is_flash)
        apart = replace(shape, kv_unified=False)
        pool = decode(spec, core, on_cpu(spec), shape=shape, **facts)
        assert pool.p50 < 0.8 * decode(spec, core, on_cpu(spec), shape=apart, **facts).p50


def test_of_a_cpu_that_nobody_measured_plain_attention_is_as_its_familys():
    spec, hardware = specs.dense(), with_bandwidths(machine(), 50)
    arm = replace(hardware, cpu=replace(hardware.cpu, isa=("neon", "dotprod", "i8mm")))
    plain = replace(SHAPE, flash_attention=False)
    flash_s, plain_s = (
        1 / decode(spec, arm, on_cpu(spec), shape=shape, depth=16384).p50
        for shape in (SHAPE, plain)
    )
    assert plain_s == pytest.approx(flash_s, rel=0.05)


@pytest.mark.parametrize("device", ["H100 SXM 80GB", "RTX 4090", "GB10", "M2 Ultra"])
@pytest.mark.parametrize(
    ("model", "quant"),
    [
        ("llama3.1:8b", "Q4_K_M"),
        ("gpt-oss:20b", "MXFP4"),
        ("qwen3:30b-a3b", "Q2_K"),
        ("mixtral:8x7b", "Q4_K_M"),
    ],
)
def test_no_step_with_more_streams_is_a_shorter_one(device, model, quant):
    spec, card = catalog.spec(catalog.find(model), quant), hardware_from_devices([device])
    step_s = [n / decode(spec, card, n_streams=n).p50 for n in range(1, 70)]
    assert all(after >= 0.9999 * before for before, after in pairwise(step_s))


def test_streams_gain_less_with_experts_of_their_own():
    card = machine((80, 1000))
    dense, moe = (
        decode(spec, card, n_streams=8).p50 / decode(spec, card).p50
        for spec in (specs.dense(), specs.moe())
    )
    assert moe < dense


def test_up_to_how_many_streams_read_experts_apart_depends_on_the_build():
    """GB10, gpt-oss-20b, 512 tokens of context, b7941 (llama.cpp benches/dgx-spark)."""
    spec = catalog.spec(catalog.find("gpt-oss:20b"), "MXFP4")
    card, then = hardware_from_devices(["GB10"]), SPEED.of_build(7941)
    for n, tok_s in ((1, 80.1), (2, 109.7), (4, 156.0), (8, 271.8), (16, 436.4)):
        rate = decode(spec, card, profile=then, n_streams=n, depth=528)
        assert rate.p50 == pytest.approx(tok_s, rel=0.15)
    assert {family.n_apart for family in then.families if family.backend == "cuda"} == {4}


def test_experts_belong_on_the_cpu_rather_than_layers():
    spec, hardware = specs.moe(), with_bandwidths(machine((12, 360)), 80)
    layers = decode(spec, hardware, half(spec, 24))
    experts = decode(spec, hardware, half(spec, 0, experts=24))
    assert experts.p50 > layers.p50


def test_each_block_whose_experts_are_the_cpus_costs():
    spec, hardware = specs.moe(), machine((24, 900))
    rates = [decode(spec, hardware, half(spec, 0, experts=n)).p50 for n in (0, 10, 20, 48)]
    assert rates == sorted(rates, reverse=True)


def test_a_card_computes_prompts_for_layers_it_does_not_hold():
    spec, hardware = specs.llama_70b(), with_bandwidths(machine((24, 1000)), 50)
    alone = Placement((Share("cpu", "host", tuple(range(81)), 0, 0, 0),), 0)
    helped = prefill(spec, hardware, half(spec, 41))
    assert helped.p50 > 3 * prefill(spec, hardware, alone).p50
    itself = prefill(spec, hardware, half(spec, 41, op_offload=False))
    assert itself.p50 < 0.5 * helped.p50


def test_copies_for_a_prompt_are_as_fast_as_the_link():
    spec, card = specs.llama_70b(), machine((24, 1000))
    slow = with_cards(card, link="PCIe 3.0 x1")
    assert prefill(spec, slow, half(spec, 41)).p50 < 0.3 * prefill(spec, card, half(spec, 41)).p50


def test_an_orin_multiplies_as_an_a100_of_its_size():
    """Their matrix units are alike: 16 of them at 1.3 GHz beside 108 at 1.41."""
    spec = catalog.spec(catalog.find("llama2:7b"), "Q4_0")
    orin, a100 = (
        prefill(spec, hardware_from_devices([name])).p50
        for name in ("Jetson AGX Orin 64GB", "A100 SXM 80GB")
    )
    assert orin / a100 == pytest.approx(16 * 1.3 / (108 * 1.41), rel=0.25)


def test_a_larger_micro_batch_copies_the_hosts_experts_less_often():
    spec, hardware = specs.moe(), machine((12, 360))
    placement = half(spec, 0, experts=48)
    small, large = (
        prefill(spec, hardware, placement, shape=replace(SHAPE, n_ubatch=n)) for n in (512, 2048)
    )
    assert large.p50 > 2 * small.p50


def test_weights_read_from_the_disk_are_slow_and_unsure():
    spec, hardware = specs.llama_70b(), machine((24, 900))
    streamed = decode(spec, hardware, half(spec, 60, disk_bytes=5 * 10**9))
    held = decode(spec, hardware, half(spec, 60))
    assert streamed.p50 < 0.5 * held.p50
    assert streamed.p90 / streamed.p10 > held.p90 / held.p10


@pytest.mark.parametrize("device", ["P40", "RTX 3090"])
def test_fewer_bits_are_not_always_faster(device):
    """Tesla P40, Llama-7B: Q2_K 33.5 tok/s, Q3_K_S 30.9, Q4_K_S 54.2 (llama.cpp PR 4766)."""
    hardware = hardware_from_devices([device])
    entry = catalog.find("llama2:7b")
    q2, q4 = (decode(catalog.spec(entry, quant), hardware).p50 for quant in ("Q2_K", "Q4_K_M"))
    assert (q2 < q4) == (device == "P40")


def test_types_that_are_slow_to_unpack_are_slow_on_the_cpu():
    spec = specs.dense()
    cpu = with_bandwidths(machine(), 50)
    placement = Placement((Share("cpu", "host", tuple(range(33)), 0, 0, 0),), 0)
    table = tuple(replace(row, type="iq3_s") for row in spec.types)
    smaller = tuple(replace(x, weight_bytes=int(x.weight_bytes * 0.75)) for x in spec.layers)
    packed = replace(spec, layers=smaller, types=table, name="iq3_s")
    assert decode(packed, cpu, placement).p50 < 0.7 * decode(spec, cpu, placement).p50


def test_more_cores_help_until_memory_is_the_limit():
    spec = specs.dense()
    placement = Placement((Share("cpu", "host", tuple(range(33)), 0, 0, 0),), 0)
    machines = [with_bandwidths(machine(), 60)] * 3
    rates = []
    for hardware, n_cores in zip(machines, (1, 4, 16), strict=True):
        cpu = replace(hardware.cpu, n_physical_cores=n_cores)
        rates.append(decode(spec, replace(hardware, cpu=cpu), placement).p50)
    assert rates[1] > 2 * rates[0]
    assert rates[2] < 2 * rates[1]


def test_an_unknown_bandwidth_gives_a_wide_range():
    spec = specs.dense()
    known, unknown = (decode(spec, machine((24, gb_s))) for gb_s in (300, None))
    assert unknown.p90 / unknown.p10 > 3 * (known.p90 / known.p10)
    assert unknown.p10 < unknown.p50 < unknown.p90


def test_an_unknown_peak_makes_prompts_unsure():
    spec, card = specs.dense(), machine((24, 900))
    sure, guess = prefill(spec, with_cards(card, fp16_flops_s=80e12)), prefill(spec, card)
    assert guess.p90 / guess.p10 > 2 * (sure.p90 / sure.p10)


def test_the_first_token_of_a_longer_prompt_comes_later():
    spec, card = specs.dense(), machine((24, 900))
    times = [ttft_s(spec, SHAPE, whole(spec, card), card, SPEED, n) for n in (1, 100, 2048, 8192)]
    assert [t.p50 for t in times] == sorted(t.p50 for t in times)
    assert all(t.p10 < t.p50 < t.p90 for t in times)


def test_older_builds_were_slower():
    spec, card = specs.dense(), machine((24, 900))
    assert decode(spec, card, profile=SPEED.of_build(3000)).p50 < decode(spec, card).p50
    assert SPEED.of_build(10**6).families == SPEED.families


def test_before_recorded_graphs_served_them_several_streams_were_slower():
    spec, card = specs.dense(), hardware_from_devices(["RTX 4090"])
    old = SPEED.of_build(8000)
    four = [decode(spec, card, profile=profile, n_streams=4).p50 for profile in (old, SPEED)]
    one = [decode(spec, card, profile=profile).p50 for profile in (old, SPEED)]
    assert four[0] < 0.9 * four[1]
    assert one[0] == pytest.approx(one[1], rel=0.05)


def test_what_this_machine_measured_moves_and_narrows_the_range():
    spec, card = specs.dense(), machine((24, 900))
    row = Calibration(
        "Card 0", "cuda", build="1", architecture="llama", decode_ratio=0.7, n_decode=3
    )
    profile = replace(SPEED, build="1", calibrations=(row,))
    before, after = decode(spec, card), decode(spec, card, profile=profile)
    assert after.p50 == pytest.approx(0.7 * before.p50, rel=0.02)
    assert after.p90 / after.p10 < 1.2
    assert prefill(spec, card, profile=profile) == prefill(spec, card)


def test_a_calibration_by_another_type_of_weights_is_less_sure_and_its_own_goes_before():
    entry = catalog.find("llama3.1:8b")
    spec = catalog.spec(entry, "Q8_0")
    card = machine((24, 900))
    other = Calibration("Card 0", "cuda", "1", "llama", "q4_0", decode_ratio=0.7, n_decode=9)
    own = Calibration("Card 0", "cuda", "1", "qwen3", "q8_0", decode_ratio=0.9, n_decode=1)
    plain, one, both = (
        decode(spec, card, profile=replace(SPEED, build="1", calibrations=rows))
        for rows in ((), (other,), (other, own))
    )
    assert one.p50 == pytest.approx(0.7 * plain.p50, rel=0.02)
    assert both.p50 == pytest.approx(0.9 * plain.p50, rel=0.02)
    assert both.p90 / both.p10 < one.p90 / one.p10


def test_a_calibration_of_another_device_changes_nothing():
    spec, card = specs.dense(), machine((24, 900))
    row = Calibration(
        "Other", "cuda", build="1", architecture="llama", decode_ratio=0.7, n_decode=3
    )
    assert decode(spec, card, profile=replace(SPEED, calibrations=(row,))) == decode(spec, card)


def test_every_board_has_a_speed_for_a_small_model():
    layer = LayerSpec(10_000_000, "full", 2, 64, 64)
    spec = replace(specs.dense("tiny", n_embd=512, n_vocab=32000), layers=(layer,) * 8)
    for name in ("rpi5", "rtx4090", "m3-max-64"):
        plan = choose(hardware_from_board(name), [specs.candidate(spec)], Goal(), load_profiles())
        assert plan.decode_tok_s.p50 > 10
