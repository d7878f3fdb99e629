import re
from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine, unified

from edgellm.probe.known.boards import hardware_from_board
from edgellm.probe.known.described import hardware_from_devices
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Alternative, Goal, Range
from edgellm.selector.telling.explain import explain
from edgellm.units import format_bytes

PROFILES = load_profiles()


def chosen(hardware, candidates=None):
    return choose(hardware, candidates or specs.ladder(), Goal(), PROFILES)


def words(text):
    """Without line breaks and the blanks of columns: what is wrapped is still said."""
    return " ".join(text.split())


def test_the_text_tells_the_choice_its_reasons_bytes_speed_and_what_was_not_chosen():
    hardware = hardware_from_board("2x3090")
    plan = chosen(hardware, specs.ladder(lambda quant: specs.llama_70b(quant)))
    text = explain(plan, hardware)

    assert text.startswith(f"llama-3.3-70b {plan.quant}")
    assert f"× {plan.n_ctx_seq} tokens, KV {plan.kv_type_k}" in text
    for reason in plan.reasons:
        assert words(reason) in words(text)
    assert text.count("NVIDIA GeForce RTX 3090 #") == 2
    assert f"{len(plan.shares[0].layers)} layers" in text
    assert re.search(r"p10 +p50 +p90", text)
    for row in plan.rejected:
        assert row.quant in text
        assert row.binding.split()[0] in text


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 300])
@pytest.mark.parametrize("board", ["2x3090", "rtx3060", "m3-max-64", "rpi5"])
def test_no_line_is_longer_than_the_screen_and_cards_can_be_told_apart(board, columns):
    hardware = hardware_from_board(board)
    plan = replace(
        chosen(hardware, specs.ladder(lambda quant: specs.dense("m", n_layers=8, quant=quant))),
        pareto=(TRADE, TRADE),
    )
    lines = explain(plan, hardware, columns).splitlines()

    assert max(map(len, lines)) <= max(60, min(columns, 100))


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("board", ["rtx3060", "3060+gtx1070", "8x3090"])
def test_experts_that_are_aside_stand_in_a_line_of_their_own_where_they_need_it(board, columns):
    hardware = hardware_from_board(board)
    model = specs.deepseek_v3() if board == "8x3090" else specs.moe("Q8_0")
    plan = chosen(hardware, [specs.candidate(model)])
    lines = explain(plan, hardware, columns).splitlines()

    assert plan.placement.has_experts_aside
    assert max(map(len, lines)) <= columns
    assert any("experts of" in line for line in lines[lines.index("") :])


def test_a_makers_name_is_what_goes_when_a_name_is_too_long():
    hardware = hardware_from_board("2x3090")
    plan = chosen(hardware, specs.ladder(lambda quant: specs.llama_70b(quant)))

    assert explain(plan, hardware, 80).count("  GeForce RTX 3090 #") == 2


def test_cards_of_one_name_are_numbered_and_others_are_not():
    alike, mixed = hardware_from_board("2x3090"), hardware_from_board("3060+gtx1070")
    told = explain(chosen(alike, specs.ladder(lambda quant: specs.llama_70b(quant))), alike)

    assert [f"RTX 3090 #{i} " in told for i in range(3)] == [True, True, False]
    assert "#" not in explain(chosen(mixed), mixed)


TRADE = Alternative(
    "Q5_K_M", 8192, 4, "q8_0", "experts of 20 layers on the CPU", 9 << 30, 0.0123,
    Range(10, 20, 30), Range(100, 200, 300),
)  # fmt: skip


def test_what_can_be_traded_is_a_table_in_which_the_chosen_one_is_marked():
    hardware = machine((24, 1000))
    plan = chosen(hardware)
    own = Alternative(
        plan.quant, plan.n_ctx_seq, plan.n_parallel, plan.kv_type_k, "all layers on Card 0",
        plan.total_bytes, 0.01, plan.decode_tok_s, plan.prefill_tok_s,
    )  # fmt: skip
    text = explain(replace(plan, pareto=(own, TRADE)), hardware)

    (chosen_row,) = [line for line in text.splitlines() if line.endswith("←")]
    assert "all layers on Card 0" in chosen_row
    assert "experts of 20 layers on the CPU" in text
    assert "what can be traded" not in explain(replace(plan, pareto=(own,)), hardware)


def test_streams_first_token_and_power_are_told_where_they_are_known():
    hardware = machine((24, 1000))
    plan = chosen(hardware)
    bare = explain(replace(plan, batch_tok_s=None, ttft_s=None, power_w=None), hardware)
    full = explain(
        replace(plan, batch_tok_s=Range(90, 120, 150), ttft_s=Range(0.1, 0.2, 1.5), power_w=350),
        hardware,
    )

    assert "together" not in bare
    assert "first token" not in bare
    assert "power" not in bare
    assert re.search(r"4 streams together +90.0 +120 +150 tok/s", full)
    assert re.search(r"first token +100 ms +200 ms +1.5 s", full)
    assert "at most 350 W" in full


def test_experts_weights_on_disk_and_a_shared_memory_are_told():
    hardware = unified(ram=32)
    plan = chosen(hardware)
    host = replace(plan.shares[-1], expert_layers=tuple(range(12)))
    placement = replace(plan.placement, shares=(*plan.shares[:-1], host), disk_bytes=3 << 30)
    text = explain(replace(plan, placement=placement), hardware)

    assert "experts of 12 layers" in text
    assert "3.0 GiB of the weights stay on disk" in text
    assert "they share one memory" in text


def test_what_stays_on_disk_is_not_counted_as_memory():
    hardware = machine(ram=24)
    candidates = [specs.candidate(specs.llama_70b())]
    plan = choose(hardware, candidates, Goal(allow_disk=True), PROFILES)
    (line,) = (line for line in explain(plan, hardware).splitlines() if line.endswith("81 layers"))
    n_bytes = plan.total_bytes - plan.placement.disk_bytes

    assert f" {format_bytes(n_bytes)} of 24.0 GiB" in line


def test_it_says_whose_figures_the_bytes_are():
    hardware = machine()
    plan = chosen(hardware)

    assert "(by arithmetic)" in explain(plan, hardware)
    assert "(llama.cpp's own figures)" in explain(replace(plan, bytes_from="oracle"), hardware)


def test_a_bar_is_as_long_as_its_share_of_the_room():
    hardware = machine((24, 1000))
    plan = chosen(hardware)
    line = next(line for line in explain(plan, hardware).splitlines() if "Card 0  " in line)
    filled = sum(line.count(mark) for mark in "█▓▒░")
    assert filled + line.count("·") == 30
    assert abs(filled / 30 - plan.shares[0].total_bytes / hardware.pools[0].total_bytes) < 0.04


def test_a_bar_never_leaves_its_frame():
    hardware = machine((24, 1000))
    plan = chosen(hardware)
    pools = tuple(replace(pool, free_bytes=1) for pool in hardware.pools)
    line = explain(plan, replace(hardware, pools=pools)).split("Card 0  ")[-1].splitlines()[0]
    assert sum(line.count(mark) for mark in "█▓▒░·") == 30


def test_an_embedding_plan_speaks_of_texts():
    hardware = machine()
    text = explain(chosen(hardware, [specs.candidate(specs.bert())]), hardware)
    assert "embeddings of texts up to 512 tokens" in text
    assert "decode" not in text


def test_what_is_only_assumed_of_a_device_stands_among_the_reasons():
    biren = chosen(hardware_from_board("br104"))
    assert any(
        reason.startswith("Biren BR104: llama.cpp has no backend") for reason in biren.reasons
    )
    described = chosen(hardware_from_devices(["RTX 4090"]))
    assert any("16.0 GiB of memory are assumed" in reason for reason in described.reasons)


@pytest.mark.parametrize(
    ("board", "names"),
    [
        ("m4-16", ["Apple M4 GPU ", "Apple M4 CPU "]),
        ("gb10", ["NVIDIA GB10 ", "Cortex-X925 and A725 "]),
    ],
)
def test_a_chips_graphics_are_told_from_its_processor(board, names):
    hardware = hardware_from_board(board)
    lines = explain(chosen(hardware), hardware).splitlines()
    begun = lines.index(next(line for line in lines if line.startswith("memory")))
    for name, line in zip(names, lines[begun + 1 :], strict=False):
        assert line.startswith(f"  {name}")
    assert "#" not in "".join(lines[begun : begun + 3])
