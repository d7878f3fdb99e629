import pytest
from gguf_files import Tensor, gguf_bytes, llama_bytes

from edgellm.errors import BadGGUF
from edgellm.models.adapters import with_adapter
from edgellm.models.gguf import GGUFHeader, parse_header
from edgellm.models.spec import ModelSpec, model_spec

F32, RANK = 4, 4
UP = RANK * (16 + 32) * F32  # both matrices beside ffn_up


def header(data: bytes) -> GGUFHeader:
    parsed = parse_header(data, len(data))
    assert isinstance(parsed, GGUFHeader)
    return parsed


def model() -> ModelSpec:
    return model_spec([header(llama_bytes(n_layers=2))], "model")


def adapter(*names: str, kind: str = "adapter", architecture: str = "llama") -> GGUFHeader:
    """Beside matrices of 16 to 32."""
    tensors = [
        tensor
        for name in names
        for tensor in (
            Tensor(f"{name}.weight.lora_a", (16, RANK)),
            Tensor(f"{name}.weight.lora_b", (RANK, 32)),
        )
    ]
    return header(gguf_bytes({"general.architecture": architecture, "general.type": kind}, tensors))


def test_an_adapters_matrices_lie_with_the_layer_that_they_change():
    before = model()
    after = with_adapter(before, adapter("blk.1.ffn_up"))
    pairs = zip(before.layers, after.layers, strict=True)
    grown = [new.weight_bytes - old.weight_bytes for old, new in pairs]
    assert grown == [0, UP]
    assert after.weight_bytes - before.weight_bytes == UP
    assert after.file_bytes - before.file_bytes == UP
    assert after.layers[0] is before.layers[0]


def test_what_it_changes_outside_the_layers_lies_there():
    before = model()
    after = with_adapter(before, adapter("output", "token_embd"))
    assert after.output_bytes - before.output_bytes == UP
    assert after.input_bytes - before.input_bytes == UP


def test_a_second_adapter_lies_beside_the_first():
    once = with_adapter(model(), adapter("blk.0.ffn_up"))
    twice = with_adapter(once, adapter("blk.0.ffn_up"))
    assert twice.layers[0].weight_bytes - once.layers[0].weight_bytes == UP
    names = [tensor.name for tensor in twice.layers[0].tensors]
    assert len(names) == len(set(names))


def test_beside_experts_it_stays_with_the_experts():
    before = model()
    after = with_adapter(before, adapter("blk.0.ffn_up_exps"))
    assert after.layers[0].expert_bytes - before.layers[0].expert_bytes == UP


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (adapter("blk.0.ffn_up", kind="model"), "no adapter"),
        (adapter("blk.0.ffn_up", architecture="qwen3"), "for qwen3, not for llama"),
        (adapter("blk.2.ffn_up"), "beyond the model's 2 layers"),
    ],
)
def test_what_is_not_for_this_model_is_refused(wrong: GGUFHeader, said: str):
    with pytest.raises(BadGGUF, match=said):
        with_adapter(model(), wrong)
