import pytest
import selector_specs as specs
from selector_machines import machine

from edgellm.errors import BadRequest
from edgellm.selector.plan import Goal
from edgellm.selector.search.checks import check_goal, check_pins, tensor_split_refusal

TWO = machine((24, 936), (24, 936)).accelerators
ONE = machine((24, 936)).accelerators


@pytest.mark.parametrize(
    ("pins", "words"),
    [
        ({"n_ctx_seq": 0}, "n_ctx_seq is 0; it must be at least 1"),
        ({"n_ctx": -5}, "n_ctx is -5"),
        ({"n_ubatch": 0}, "n_ubatch is 0"),
        ({"n_threads": 0}, "n_threads is 0"),
        ({"min_ctx_seq": 0}, "min_ctx_seq is 0"),
        ({"n_parallel": -1}, "n_parallel is -1"),
        ({"n_parallel": 257}, "257 parallel sequences; llama.cpp holds 256"),
        ({"n_ctx": 2**31}, "2147483648 as -c; llama.cpp holds 2147483647"),
        ({"n_ctx_seq": 10**15}, "as --ctx; llama.cpp holds"),
        ({"n_ubatch": 10**12}, "as -ub"),
        ({"n_threads": 513}, "513 as -t; llama.cpp holds 512"),
        ({"min_tok_s": 0.0}, "--min-tok-s is 0.0; it must be more than 0"),
        ({"min_tok_s": float("nan")}, "--min-tok-s is nan"),
        ({"max_watts": -10.0}, "--max-watts is -10.0"),
        ({"max_watts": float("inf")}, "--max-watts is inf"),
        ({"reserve_bytes": -1}, "can't be negative"),
        ({"n_cpu_moe": -1}, "-ncmoe is -1"),
        ({"n_ctx": 1000, "n_ctx_seq": 2000}, "exceeds all 1000 cells"),
        ({"n_ctx": 4, "n_parallel": 8}, "leaves no cell for each of 8"),
        ({"n_ctx_seq": 2048, "min_ctx_seq": 4096}, "gets 2048 tokens, and --min-ctx asks for 4096"),
        ({"n_ctx": 8192, "n_parallel": 4, "min_ctx_seq": 4096}, "gets 2048 tokens"),
        ({"flash_attention": False, "kv_type_v": "q8_0"}, "needs flash attention"),
        ({"flash_attention": False, "split_mode": "tensor"}, "-sm tensor needs flash attention"),
        ({"tensor_split": ()}, "-ts is empty"),
        ({"tensor_split": (0.0, 0.0)}, "-ts is 0,0"),
        ({"tensor_split": (1.0, -1.0)}, "-ts is 1,-1"),
        ({"tensor_split": (1.0, float("nan"))}, "-ts is 1,nan"),
        ({"tensor_split": (1.0, 1.0), "n_gpu_layers": 0}, "-ngl 0 leaves none to share"),
        ({"batch_invariant": True, "kv_unified": True}, "needs a KV stream of its own"),
    ],
)
def test_what_cannot_be_is_refused_with_its_numbers(pins, words):
    with pytest.raises(BadRequest) as raised:
        check_goal(Goal(**pins))
    assert words in str(raised.value)


def test_what_can_be_passes():
    check_goal(Goal())
    check_goal(
        Goal(
            n_ctx=65536, n_parallel=4, min_ctx_seq=8192, n_cpu_moe=0, n_gpu_layers=99,
            n_threads=512, tensor_split=(0.0, 1.0), min_tok_s=0.5, max_watts=10.0, reserve_bytes=0,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pins", "spec", "devices", "words"),
    [
        ({"n_cpu_moe": 4}, specs.dense(), ONE, "-ncmoe 4: llama-3.1-8b has no experts"),
        (
            {"tensor_split": (1.0, 1.0, 1.0)},
            specs.dense(),
            TWO,
            "names 3 devices; this machine has",
        ),
        ({"split_mode": "tensor"}, specs.dense(), ONE, "needs two devices; this machine has 1"),
        ({"split_mode": "tensor"}, specs.deepseek_v3(), TWO, "no tensor split for deepseek2"),
        ({"split_mode": "row"}, specs.dense(), ONE, "needs two devices; this machine has 1"),
        ({"split_mode": "row"}, specs.dense(), TWO, "Card 0 has no split buffers"),
        ({"kv_type_k": "q8_0", "kv_type_v": "f16"}, specs.deepseek_v3(), ONE, "one latent row"),
    ],
)
def test_pins_that_contradict_the_model_or_the_machine_are_refused(pins, spec, devices, words):
    with pytest.raises(BadRequest) as raised:
        check_pins(Goal(**pins), spec, devices)
    assert words in str(raised.value)


def test_a_split_over_more_devices_than_there_are_is_told_which_there_are():
    for devices, hint in ((TWO, "in their order: Card 0, Card 1"), ((), "leave it out")):
        with pytest.raises(BadRequest) as raised:
            check_pins(Goal(tensor_split=(1.0, 1.0, 1.0)), specs.dense(), devices)
        assert raised.value.hint == hint


def test_rows_are_split_where_the_backend_has_buffers_for_it():
    devices = machine((24, 500), (24, 500), backend="sycl").accelerators
    check_pins(Goal(split_mode="row"), specs.dense(), devices)
    with pytest.raises(BadRequest, match="experts can't be split by rows"):
        check_pins(Goal(split_mode="row"), specs.moe(), devices)


def test_tensors_are_split_over_devices_of_one_backend():
    assert tensor_split_refusal(specs.dense(), TWO) is None
    mixed = (TWO[0], machine((24, 500), backend="vulkan").accelerators[0])
    assert tensor_split_refusal(specs.dense(), mixed) == "its devices must have one backend"
