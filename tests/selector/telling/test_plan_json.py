import json
from dataclasses import replace

import selector_specs as specs
from selector_machines import machine

from edgellm.errors import DoesNotFit
from edgellm.models.repo_files import RepoFile
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import DraftFile, Goal, Rejected
from edgellm.selector.telling.plan_json import plan_json, refusal_json

PLAN_KEYS = {
    "file", "quant", "n_ctx", "n_ctx_seq", "n_parallel", "kv_type_k", "kv_type_v", "n_ubatch",
    "devices", "host", "decode_tok_s", "prefill_tok_s", "fits", "reasons",
}  # fmt: skip
DEVICE_KEYS = {"id", "layers", "weight_bytes", "kv_bytes", "compute_bytes", "overhead_bytes"}


def told(value):
    """As a program reads it."""
    return json.loads(json.dumps(value))


def plan_of(hardware, **pins):
    return choose(hardware, specs.ladder(), Goal(**pins), load_profiles())


def test_the_documented_keys_are_there():
    answer = told(plan_json(plan_of(machine((8, 500), ram=16))))

    assert set(answer) == {"plan", "rejected"}
    assert set(answer["plan"]) >= PLAN_KEYS
    assert set(answer["plan"]["devices"][0]) >= DEVICE_KEYS
    assert {"weight_bytes", "kv_bytes", "compute_bytes"} <= set(answer["plan"]["host"])
    assert set(answer["plan"]["decode_tok_s"]) == {"p10", "p50", "p90"}
    assert answer["plan"]["fits"] is True
    assert all(row["binding"] for row in answer["rejected"])


def test_every_layer_is_somebodys():
    answer = plan_json(plan_of(machine((8, 500), (8, 500), ram=16)))["plan"]

    layers = sum(row["layers"] for row in answer["devices"]) + answer["host"]["layers"]
    assert layers == 33


def test_the_bytes_are_those_of_the_plan():
    plan = plan_of(machine((8, 500), ram=16))
    answer = plan_json(plan)["plan"]

    parts = [*answer["devices"], answer["host"]]
    names = ("weight_bytes", "kv_bytes", "compute_bytes", "overhead_bytes")
    assert sum(part[name] for part in parts for name in names) == plan.total_bytes


def test_what_lies_beside_the_model_is_listed_with_its_bytes():
    alone = plan_json(plan_of(machine((24, 900))))["plan"]
    assert (alone["projector"], alone["draft"], alone["speculate"]) == (None, None, "ngram")

    candidate = replace(
        specs.candidate(specs.dense("Q4_K_M")),
        projector=RepoFile("/models/mmproj.gguf", 5_000),
        projector_bytes=6_000,
        modalities=("vision",),
        draft=DraftFile("/models/small.gguf", specs.dense("Q4_0")),
    )
    plan = choose(machine((24, 900)), [candidate], Goal(speculate="draft"), load_profiles())
    both = told(plan_json(plan))["plan"]
    assert both["projector"] == {
        "file": "/models/mmproj.gguf", "bytes": 6_000, "modalities": ["vision"],
    }  # fmt: skip
    assert both["draft"]["file"] == "/models/small.gguf"
    assert both["speculate"] == "draft"
    beside = sum(part["overhead_bytes"] for part in (*both["devices"], both["host"]))
    assert both["draft"]["bytes"] + 6_000 <= beside


def test_a_machine_without_accelerators_has_an_empty_list_of_devices():
    assert plan_json(plan_of(machine(ram=32)))["plan"]["devices"] == []


def test_what_nobody_knows_is_null():
    plan = choose(machine(), [specs.candidate(specs.bert())], Goal(), load_profiles())

    assert told(plan_json(plan))["plan"]["decode_tok_s"] is None


def test_a_refusal_has_the_same_shape_with_what_is_known():
    nearest = Rejected("Q4_K_M", 2048, "q8_0", "needs 9.1 GiB on the host, 7.6 GiB can be given")
    error = DoesNotFit("it does not fit", hint="take a smaller one")

    smaller = plan_of(machine(ram=32))

    answer = told(refusal_json("qwen3:8b", error, [nearest], {"without --ctx": smaller}))

    assert answer["plan"]["fits"] is False
    assert (answer["plan"]["model"], answer["plan"]["quant"]) == ("qwen3:8b", "Q4_K_M")
    assert answer["plan"]["reasons"] == ["it does not fit", "take a smaller one"]
    assert answer["rejected"][0]["binding"] == nearest.binding
    (instead,) = answer["instead"]
    assert instead["change"] == "without --ctx"
    assert (instead["quant"], instead["n_ctx_seq"]) == (smaller.quant, smaller.n_ctx_seq)
    assert instead["total_bytes"] == smaller.total_bytes
    assert instead["decode_tok_s"]["p10"] < instead["decode_tok_s"]["p90"]


def test_a_refusal_that_knows_of_no_try_is_still_one():
    answer = told(refusal_json("qwen3:8b", DoesNotFit("no"), [], {}))

    assert (answer["plan"]["fits"], answer["plan"]["quant"]) == (False, None)
    assert answer["rejected"] == answer["instead"] == []
