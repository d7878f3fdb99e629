import pytest
from gguf_files import FLOAT32, Tensor, Typed, gguf_bytes, llama_bytes

from edgellm.errors import BadGGUF
from edgellm.models.anatomy.adapters import check_adapter, with_adapter
from edgellm.models.gguf.header import GGUFHeader, parse_header
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


MODEL = header(llama_bytes(n_layers=2, n_vocab=64))
LORA = {
    "general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora",
    "adapter.lora.alpha": 4.0,
}  # fmt: skip
UP_A, UP_B = "blk.0.ffn_up.weight.lora_a", "blk.0.ffn_up.weight.lora_b"
PAIR = (Tensor(UP_A, (16, RANK)), Tensor(UP_B, (RANK, 32)))


def lora(*tensors: Tensor, **keys: object) -> GGUFHeader:
    metadata = {key: value for key, value in (LORA | keys).items() if value is not None}
    return header(gguf_bytes(metadata, tensors or PAIR))


def experts(n: int) -> tuple[Tensor, Tensor]:
    name = "blk.0.ffn_up_exps.weight"
    return Tensor(f"{name}.lora_a", (16, RANK, n)), Tensor(f"{name}.lora_b", (RANK, 32, n))


def with_tensor(tensor: Tensor) -> GGUFHeader:
    return header(gguf_bytes({"general.architecture": "llama"}, [tensor]))


def test_an_adapter_that_fits_its_model_is_taken():
    check_adapter(lora(), [MODEL])
    check_adapter(lora(*PAIR, Tensor("blk.0.attn_norm.weight", (16,))), [MODEL])
    check_adapter(lora(**{"adapter.lora.alpha": None}), [MODEL])
    embedding = (
        Tensor("token_embd.weight.lora_a", (RANK, 64)),
        Tensor("token_embd.weight.lora_b", (RANK, 16)),
    )
    check_adapter(lora(*embedding), [MODEL])


def test_experts_take_a_pair_of_matrices_for_each():
    model = with_tensor(Tensor("blk.0.ffn_up_exps.weight", (16, 32, 8)))
    check_adapter(lora(*experts(8)), [model])
    with pytest.raises(BadGGUF, match="don't make one"):
        check_adapter(lora(*experts(4)), [model])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lora(**{"general.type": "model"}), "no adapter"),
        (lora(**{"general.architecture": "qwen3"}), "for qwen3, not for llama"),
        (lora(**{"adapter.type": "control_vector"}), "'control_vector'"),
        (lora(**{"adapter.type": None}), "None"),
        (lora(**{"adapter.lora.alpha": float("inf")}), "alpha"),
        (lora(**{"adapter.alora.invocation_tokens": [1, 2]}), "aLoRA"),
        (lora(PAIR[0]), "only one matrix"),
        (lora(Tensor("blk.0.ffn_up.weight", (16, 32))), "neither"),
        (lora(Tensor("blk.0.attn_norm.weight", (16,))), "changes nothing"),
        (lora(Tensor("blk.7.x.lora_a", (16, 4)), Tensor("blk.7.x.lora_b", (4, 32))), "blk.7.x"),
        (lora(PAIR[0], Tensor(UP_B, (RANK + 1, 32))), "don't make one"),
        (lora(Tensor(UP_A, (RANK, 16)), Tensor(UP_B, (32, RANK))), "don't make one"),
        (lora(Tensor(UP_A, (16, RANK, 2)), PAIR[1]), "don't make one"),
        (lora(Tensor(UP_A, (16, 99)), Tensor(UP_B, (99, 32))), "rank 99"),
        (lora(Tensor(UP_A, (16, RANK), 26), PAIR[1]), "i32, no type of weights"),
    ],
)
def test_what_llama_cpp_would_refuse_or_end_at_is_refused(wrong: GGUFHeader, said: str):
    with pytest.raises(BadGGUF, match=said):
        check_adapter(wrong, [MODEL])


def test_a_tied_embedding_takes_no_adapter():
    """As the head it would be multiplied the other way round, and llama.cpp asserts on that."""
    model = with_tensor(Tensor("token_embd.weight", (16, 64)))
    pair = (
        Tensor("token_embd.weight.lora_a", (RANK, 64)),
        Tensor("token_embd.weight.lora_b", (RANK, 16)),
    )
    with pytest.raises(BadGGUF, match="as its head"):
        check_adapter(lora(*pair), [model])


@pytest.mark.parametrize("alpha", [4, "4", Typed(5, 4), True])
def test_an_alpha_that_is_no_float32_is_refused_where_llama_cpp_would_assert(alpha: object):
    with pytest.raises(BadGGUF, match="not a float32"):
        lora(**{"adapter.lora.alpha": alpha})
    assert lora(**{"adapter.lora.alpha": Typed(FLOAT32, 4.0)})
