import json
from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine

from edgellm.profiles import load_profiles
from edgellm.runner.calibration import Calibrations, Measured
from edgellm.selector.choose import choose
from edgellm.selector.memory.shape import context_shape
from edgellm.selector.plan import Goal
from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed import decode_tok_s, prefill_tok_s

SPEED = load_profiles().speed
CARD = machine((24, 900))
SPEC = specs.dense()


@pytest.fixture
def plan():
    return choose(CARD, [specs.candidate(SPEC)], Goal(n_ctx_seq=4096), load_profiles())


@pytest.fixture
def store(tmp_path):
    return Calibrations(tmp_path, build="1")


def predicted(plan, spec=SPEC, hardware=CARD, profile=SPEED):
    setup = Setup(spec, context_shape(plan), plan.placement, hardware, profile)
    return decode_tok_s(setup), prefill_tok_s(setup)


def measured(plan, ratio: float, **changes) -> Measured:
    decode, prefill = predicted(plan)
    return Measured(decode_tok_s=decode.p50 * ratio, prefill_tok_s=prefill.p50 * ratio, **changes)


def test_the_next_prediction_is_what_was_measured(plan, store):
    store.observe(plan, SPEC, CARD, SPEED, measured(plan, 0.8))
    decode, prefill = predicted(plan, profile=store.applied(SPEED))
    before, prompt_before = predicted(plan)
    assert decode.p50 == pytest.approx(0.8 * before.p50, rel=0.01)
    assert prefill.p50 == pytest.approx(0.8 * prompt_before.p50, rel=0.01)
    assert decode.p90 / decode.p10 < before.p90 / before.p10


def test_another_model_on_the_same_device_is_corrected_too_and_less_surely(plan, store):
    store.observe(plan, SPEC, CARD, SPEED, measured(plan, 0.8))
    other = replace(specs.dense(n_layers=40), architecture="qwen3", name="other")
    corrected = store.applied(SPEED)
    same, _ = predicted(plan, profile=corrected)
    moved, _ = predicted(plan, spec=other, profile=corrected)
    assert moved.p50 == pytest.approx(0.8 * predicted(plan, spec=other)[0].p50, rel=0.02)
    assert moved.p90 / moved.p10 > same.p90 / same.p10


def test_the_median_of_several_measurements_counts(plan, store):
    for ratio in (0.8, 0.1, 0.82, 0.81, 3.0):
        store.observe(plan, SPEC, CARD, SPEED, measured(plan, ratio))
    (row,) = store.load()
    assert row.decode_ratio == pytest.approx(0.81, rel=0.01)
    assert row.n_decode == 5


def test_a_measurement_with_several_streams_is_judged_as_such(plan, store):
    setup = Setup(SPEC, context_shape(plan), plan.placement, CARD, SPEED)
    four = decode_tok_s(setup, depth=100, n_streams=4).p50
    store.observe(plan, SPEC, CARD, SPEED, Measured(four / 2, n_streams=4, depth=100))
    (row,) = store.load()
    assert row.decode_ratio == pytest.approx(0.5, rel=0.03)
    assert row.prefill_ratio is None


def test_of_two_devices_the_known_one_is_believed_and_the_other_judged(plan, store):
    store.observe(plan, SPEC, CARD, SPEED, measured(plan, 0.5))
    shares = plan.placement.shares
    card = replace(shares[0], layers=tuple(range(16, 33)))
    host = replace(shares[-1], layers=tuple(range(16)))
    half = replace(plan, placement=replace(plan.placement, shares=(card, host), n_gpu_layers=17))
    decode, _ = predicted(half, profile=store.applied(SPEED))
    slower = Measured(decode_tok_s=decode.p50 / 2)
    store.observe(half, SPEC, CARD, SPEED, slower)
    rows = {row.device: row for row in store.load()}
    assert rows["Card 0"].decode_ratio == pytest.approx(0.5, rel=0.03)
    assert 0.3 < rows["CPU"].decode_ratio < 0.5
    again, _ = predicted(half, profile=store.applied(SPEED))
    assert again.p50 == pytest.approx(slower.decode_tok_s, rel=0.02)


def test_what_can_not_be_true_is_dropped(plan, store):
    store.observe(plan, SPEC, CARD, SPEED, measured(plan, 1000.0))
    store.observe(plan, SPEC, CARD, SPEED, measured(plan, 0.0001))
    assert store.load() == ()


def test_another_build_counts_less_than_this_one(plan, tmp_path):
    Calibrations(tmp_path, build="old").observe(plan, SPEC, CARD, SPEED, measured(plan, 0.5))
    new = Calibrations(tmp_path, build="new")
    narrow_before = predicted(plan)[0]
    guessed, _ = predicted(plan, profile=new.applied(SPEED))
    assert guessed.p50 == pytest.approx(0.5 * narrow_before.p50, rel=0.02)
    new.observe(plan, SPEC, CARD, SPEED, measured(plan, 0.9))
    known, _ = predicted(plan, profile=new.applied(SPEED))
    assert known.p50 == pytest.approx(0.9 * narrow_before.p50, rel=0.02)


def test_a_broken_file_is_begun_anew_with_a_word(plan, store, tmp_path):
    (tmp_path / "calibration.json").write_text("{ not json")
    assert store.load() == ()
    assert "can't be read" in store.complaint
    store.observe(plan, SPEC, CARD, SPEED, measured(plan, 0.8))
    assert len(store.load()) == 1
    assert store.complaint is None


def test_a_file_of_another_version_is_nothing(store, tmp_path):
    row = {
        "device": "Card 0",
        "backend": "cuda",
        "build": "1",
        "architecture": "llama",
        "weight_type": None,
    }
    data = {"version": 999, "rows": [{**row, "decode": [0.5], "prefill": []}], "overheads": []}
    (tmp_path / "calibration.json").write_text(json.dumps(data))
    assert store.load() == ()


def test_the_file_stays_small(plan, tmp_path):
    for i in range(130):
        store = Calibrations(tmp_path, build=str(i))
        store.observe(plan, SPEC, CARD, SPEED, measured(plan, 0.8))
    rows = store.load()
    assert len(rows) == 100
    assert rows[-1].build == "129"


def test_a_folder_that_can_not_be_written_costs_nothing_but_a_word(plan, tmp_path):
    (tmp_path / "taken").write_text("")
    store = Calibrations(tmp_path / "taken", build="1")
    store.observe(plan, SPEC, CARD, SPEED, measured(plan, 0.8))
    assert store.complaint


def test_what_a_driver_takes_is_measured_once_and_used(store):
    device = CARD.devices[0]
    store.observe_overhead(device, 20 << 30, 14 << 30, accounted_bytes=(5 << 30) + (100 << 20))
    expected = (1 << 30) - (100 << 20)
    assert store.applied(SPEED).overhead_bytes(device) == expected
    assert SPEED.overhead_bytes(device) == SPEED.family(device).overhead_bytes


@pytest.mark.parametrize("free_after", [21 << 30, 1 << 30])
def test_an_overhead_that_can_not_be_true_is_dropped(store, free_after):
    store.observe_overhead(CARD.devices[0], 20 << 30, free_after, accounted_bytes=5 << 30)
    assert store.load() == ()


def on_cpu(ram_bandwidth):
    hardware = machine(ram=64, ram_bandwidth=ram_bandwidth)
    chosen = choose(hardware, [specs.candidate(SPEC)], Goal(n_ctx_seq=4096), load_profiles())
    return hardware, chosen


def seconds(plan, hardware, profile, depth):
    setup = Setup(SPEC, context_shape(plan), plan.placement, hardware, profile)
    return 1 / decode_tok_s(setup, depth).p50


def test_on_the_cpu_weights_are_corrected_and_the_look_at_the_cache_is_not(store):
    hardware, plan = on_cpu(50)
    shallow, deep = (seconds(plan, hardware, SPEED, depth) for depth in (100, 3000))
    store.observe(plan, SPEC, hardware, SPEED, Measured(decode_tok_s=2 / shallow, depth=100))
    corrected = store.applied(SPEED)

    again, far = (seconds(plan, hardware, corrected, depth) for depth in (100, 3000))

    assert again == pytest.approx(shallow / 2, rel=0.01)
    assert far - again == pytest.approx(deep - shallow, rel=0.01)


def test_a_memory_that_is_measured_anew_does_not_shift_what_is_known(store):
    hardware, plan = on_cpu(12)
    took_s = seconds(plan, hardware, SPEED, 512) / 2.5  # others were reading, too, at first
    store.observe(plan, SPEC, hardware, SPEED, Measured(decode_tok_s=1 / took_s))
    idle, _ = on_cpu(30)

    assert seconds(plan, idle, store.applied(SPEED), 512) == pytest.approx(took_s, rel=0.01)

    store.observe(plan, SPEC, idle, SPEED, Measured(decode_tok_s=1 / took_s))
    (row,) = store.load()
    assert row.n_decode == 2
    assert row.decode_spread == pytest.approx(0.0, abs=0.01)
    assert row.bandwidth_bytes_s == hardware.host.bandwidth_bytes_s


def test_on_the_cpu_another_architecture_says_less_of_decoding_than_its_own(store):
    hardware, plan = on_cpu(50)
    store.observe(plan, SPEC, hardware, SPEED, Measured(decode_tok_s=5.0, prefill_tok_s=50.0))
    profile = store.applied(SPEED)
    decode, prefill = predicted(plan, hardware=hardware, profile=profile)
    other = replace(SPEC, architecture="qwen3")
    far, prompt = predicted(plan, spec=other, hardware=hardware, profile=profile)

    assert far.p50 == pytest.approx(decode.p50, rel=0.01)
    assert far.p90 / far.p10 > 1.5 * decode.p90 / decode.p10
    assert prompt.p90 / prompt.p10 < 1.3 * prefill.p90 / prefill.p10
