import json
from dataclasses import replace

import selector_specs as specs
from selector_machines import machine

from edgellm.profiles import hardware_from_board, load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.explain import explain, plan_json
from edgellm.selector.plan import Goal

PROFILES = load_profiles()


def chosen(hardware, candidates=None):
    return choose(hardware, candidates or specs.ladder(), Goal(), PROFILES)


def test_the_text_tells_the_choice_its_reasons_bytes_speed_and_what_was_not_chosen():
    hardware = hardware_from_board("2x3090")
    plan = chosen(hardware, specs.ladder(lambda quant: specs.llama_70b(quant)))
    text = explain(plan, hardware)
    assert text.startswith("llama-3.3-70b Q4_K_M")
    assert "2 conversations × 8192 tokens, KV q8_0" in text
    for reason in plan.reasons:
        assert reason in text
    assert text.count("NVIDIA GeForce RTX 3090  ") == 2
    assert "41 layers" in text
    assert "p10 – p50 – p90" in text
    for row in plan.rejected:
        assert row.binding in text


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


def test_the_json_has_the_documented_shape():
    plan = chosen(machine((8, 500), ram=16))
    told = json.loads(json.dumps(plan_json(plan)))
    assert set(told) == {"plan", "rejected"}
    documented = {
        "file", "quant", "n_ctx", "n_ctx_seq", "n_parallel", "kv_type_k", "kv_type_v", "n_ubatch",
        "devices", "host", "decode_tok_s", "prefill_tok_s", "fits", "reasons",
    }  # fmt: skip
    assert documented <= set(told["plan"])
    device = told["plan"]["devices"][0]
    assert {
        "id", "layers", "weight_bytes", "kv_bytes", "compute_bytes", "overhead_bytes"
    } <= set(device)  # fmt: skip
    assert {"weight_bytes", "kv_bytes", "compute_bytes"} <= set(told["plan"]["host"])
    assert set(told["plan"]["decode_tok_s"]) == {"p10", "p50", "p90"}
    assert told["plan"]["fits"] is True
    assert all(row["binding"] for row in told["rejected"])
    layers = sum(row["layers"] for row in told["plan"]["devices"]) + told["plan"]["host"]["layers"]
    assert layers == 33
