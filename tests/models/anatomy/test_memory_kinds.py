import pytest
from gguf_files import gguf_bytes

from edgellm.errors import BadGGUF
from edgellm.models.anatomy.memory_kinds import layer_memory, window_tokens
from edgellm.models.gguf.header import GGUFHeader, parse_header


def header(arch: str, n_layers: int = 6, **keys: object) -> GGUFHeader:
    """64 wide, 4 heads of 16, 2 of them for KV, unless `keys` say otherwise."""
    shape: dict[str, object] = {
        "block_count": n_layers,
        "embedding_length": 64,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
    }
    named = {f"{arch}.{key}": value for key, value in (shape | keys).items()}
    parsed = parse_header(gguf_bytes({"general.architecture": arch} | named))
    assert isinstance(parsed, GGUFHeader)
    return parsed


def kinds(parsed: GGUFHeader) -> str:
    """One letter a layer: f s l r n."""
    return "".join(layer.kind[0] for layer in layer_memory(parsed))


WINDOW = {"attention.sliding_window": 512}


@pytest.mark.parametrize(
    ("arch", "keys", "expected"),
    [
        ("llama", {}, "ffffff"),
        ("mistral3", WINDOW, "ffffff"),  # llama.cpp ignores the key there
        ("phi3", WINDOW, "ffffff"),
        ("gemma2", {}, "sfsfsf"),
        ("gemma3", WINDOW, "sssssf"),
        ("gemma3", {}, "ffffff"),
        ("gemma3", WINDOW | {"attention.sliding_window_pattern": 2}, "sfsfsf"),
        ("gpt-oss", WINDOW, "sfsfsf"),
        (
            "gpt-oss",
            WINDOW | {"attention.sliding_window_pattern": [True] * 3 + [False] * 3},
            "sssfff",
        ),
        ("cohere2", WINDOW, "sssfss"),
        ("cohere2moe", WINDOW, "fsssfs"),
        ("llama4", {}, "sssfss"),
        ("llama4", {"attention.sliding_window": 0}, "ffffff"),
        ("smallthinker", {}, "ffffff"),
        ("smallthinker", WINDOW, "fsssfs"),
        ("exaone4", WINDOW, "ffffff"),  # only its 64-layer model slides
        ("mamba", {"attention.head_count": 0}, "rrrrrr"),
        ("jamba", {"attention.head_count_kv": [0, 0, 2, 0, 0, 2]}, "rrfrrf"),
        ("lfm2", {"attention.head_count_kv": [0, 0, 2, 0, 0, 2]}, "rrfrrf"),
        ("lfm2", WINDOW | {"attention.head_count_kv": [0, 0, 2, 0, 0, 2]}, "rrsrrs"),
        ("qwen3next", {}, "rrrfrr"),
        ("qwen35", {"full_attention_interval": 3}, "rrfrrf"),
        ("qwen35moe", {"attention.recurrent_layers": [1, 0, 0, 0, 0, 1]}, "rffffr"),
        ("falcon-h1", {}, "ffffff"),
        (
            "nemotron_h",
            {
                "attention.head_count_kv": [0, 0, 2, 0, 0, 2],
                "feed_forward_length": [0, 8, 0, 0, 8, 0],
            },
            "rnfrnf",
        ),
        ("bert", {}, "nnnnnn"),
        ("gemma-embedding", WINDOW, "nnnnnn"),
        ("deepseek2", {"attention.key_length_mla": 24, "attention.value_length_mla": 16}, "llllll"),
        ("deepseek2", {}, "ffffff"),  # converted before llama.cpp kept the latent
        ("deci", {"attention.head_count_kv": [2, 2, 0, 2, 2, 2]}, "ffnfff"),
        ("glm4moe", {"nextn_predict_layers": 1}, "fffffn"),
        (
            "gemma4",
            WINDOW
            | {
                "attention.sliding_window_pattern": [True, False] * 3,
                "attention.shared_kv_layers": 2,
            },
            "sfsfnn",
        ),
    ],
)
def test_each_layer_keeps_the_memory_that_llama_cpp_gives_it(
    arch: str, keys: dict[str, object], expected: str
):
    assert kinds(header(arch, **keys)) == expected


def test_an_encoder_keeps_nothing_and_still_has_heads():
    layer = layer_memory(header("bert"))[0]
    assert (layer.kind, layer.n_head_kv, layer.head_dim_k, layer.head_dim_v) == ("none", 2, 16, 16)


def test_gemma3n_shares_the_cache_from_its_twentieth_layer_on():
    assert kinds(header("gemma3n", 30, **WINDOW)) == "ssssf" * 4 + "n" * 10


def test_a_sliding_layer_may_have_heads_of_its_own_width():
    keys = WINDOW | {
        "attention.sliding_window_pattern": [True, False] * 3,
        "attention.key_length": 32,
        "attention.value_length": 32,
        "attention.key_length_swa": 8,
        "attention.value_length_swa": 8,
    }
    sliding, full, *_ = layer_memory(header("gemma4", **keys))
    assert (sliding.head_dim_k, sliding.head_dim_v) == (8, 8)
    assert (full.head_dim_k, full.head_dim_v) == (32, 32)


def test_the_latent_cache_has_keys_only():
    keys = {
        "attention.head_count_kv": 1,
        "attention.key_length": 576,
        "attention.value_length": 512,
        "attention.key_length_mla": 192,
        "attention.value_length_mla": 128,
    }
    layer = layer_memory(header("deepseek2", **keys))[0]
    assert (layer.n_head_kv, layer.head_dim_k, layer.head_dim_v) == (1, 576, 0)
    sparse = layer_memory(header("deepseek32", **keys, **{"attention.indexer.key_length": 128}))[0]
    assert sparse.head_dim_k == 576 + 128


@pytest.mark.parametrize(
    ("arch", "keys", "state_bytes"),
    [
        # (d_conv − 1)(d_inner + 2·n_group·d_state) + d_state·d_inner, of 4 bytes
        (
            "mamba2",
            {
                "ssm.conv_kernel": 4,
                "ssm.inner_size": 128,
                "ssm.state_size": 16,
                "ssm.group_count": 2,
            },
            (3 * (128 + 2 * 2 * 16) + 16 * 128) * 4,
        ),
        # token_shift·n_embd + n_embd·head_size
        ("rwkv6", {"wkv.head_size": 32}, (2 * 64 + 64 * 32) * 4),
        ("rwkv7", {"wkv.head_size": 32, "token_shift_count": 1}, (64 + 64 * 32) * 4),
    ],
)
def test_a_recurrent_state_has_llama_cpps_size(
    arch: str, keys: dict[str, object], state_bytes: int
):
    assert {layer.state_bytes for layer in layer_memory(header(arch, **keys))} == {state_bytes}


def test_lfm2_keeps_the_short_convolutions_last_inputs():
    parsed = header("lfm2", **{"attention.head_count_kv": [0, 2] * 3, "shortconv.l_cache": 3})
    assert [layer.state_bytes for layer in layer_memory(parsed)] == [64 * 2 * 4, 0] * 3


def test_falcon_h1_keeps_both_in_every_layer():
    parsed = header("falcon-h1", **{"ssm.conv_kernel": 4, "ssm.inner_size": 8, "ssm.state_size": 2})
    assert all(layer.kind == "full" and layer.state_bytes for layer in layer_memory(parsed))


def test_a_pattern_that_only_the_file_can_know_is_named_when_missing():
    with pytest.raises(BadGGUF, match="sliding_window_pattern"):
        layer_memory(header("step35", **WINDOW))


@pytest.mark.parametrize("n_layers", [0, 513])
def test_an_absurd_number_of_layers_is_refused(n_layers: int):
    with pytest.raises(BadGGUF, match=str(n_layers)):
        layer_memory(header("llama", n_layers))


def test_the_window_is_zero_where_nothing_slides():
    assert window_tokens(header("llama", **WINDOW)) == 0
    assert window_tokens(header("gemma3", **WINDOW)) == 512
    assert window_tokens(header("llama4", **WINDOW)) == 8192
