import json
import tarfile
from pathlib import Path

import pytest
from gguf_files import Tensor, gguf_bytes, llama_bytes, with_keys
from models_fakes import SHARED_MODELS, needs_shared_models
from mtp_files import mtp_bytes

from edgellm.errors import BadGGUF
from edgellm.models.gguf.header import GGUFHeader, parse_header
from edgellm.models.local import read_headers, read_spec
from edgellm.models.spec import MAX_EXPERTS, LayerSpec, ModelSpec, model_spec

F32 = 4


def spec_of(*files: bytes, quant: str | None = None) -> ModelSpec:
    headers = [parse_header(data, len(data)) for data in files]
    return model_spec([h for h in headers if isinstance(h, GGUFHeader)], "test", quant)


def test_a_small_llama_is_counted_to_the_byte():
    data = llama_bytes(n_layers=2, n_vocab=8)
    spec = spec_of(data)
    attention = 16 * 16 * 2 + 16 * 8 * 2 + 16
    assert [layer.weight_bytes for layer in spec.layers] == [
        (attention + 3 * 16 * 32 + 16) * F32
    ] * 2
    assert spec.input_bytes == 16 * 8 * F32
    assert spec.output_bytes == (16 + 16 * 8) * F32
    assert (spec.n_layers, spec.n_vocab, spec.n_head, spec.n_ff) == (2, 8, 2, 32)
    assert (spec.layers[0].n_head_kv, spec.layers[0].head_dim_k) == (1, 8)
    assert (spec.file_bytes, spec.quant, spec.license) == (len(data), "F32", "mit")
    assert not spec.tied_embeddings
    assert not spec.is_embedding


def test_the_file_names_label_goes_before_the_headers():
    assert spec_of(llama_bytes(), quant="UD-Q4_K_XL").quant == "UD-Q4_K_XL"


def parts(data: bytes) -> tuple[dict[str, object], list[Tensor]]:
    header = parse_header(data)
    assert isinstance(header, GGUFHeader)
    keys = {
        key: list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else value
        for key, value in header.metadata.items()
    }
    return keys, [Tensor(t.name, t.shape, t.type_id) for t in header.tensors]


def without(data: bytes, *names: str) -> bytes:
    """The same model, without some of its tensors."""
    keys, tensors = parts(data)
    return gguf_bytes(keys, [tensor for tensor in tensors if tensor.name not in names])


def with_tensor(data: bytes, tensor: Tensor) -> bytes:
    keys, tensors = parts(data)
    return gguf_bytes(keys, [*tensors, tensor])


def rewritten(data: bytes, more: dict[str, str | int]) -> bytes:
    """Of another architecture, and the keys that go with it."""
    keys, tensors = parts(data)
    arch = more["general.architecture"]
    renamed = {key.replace("llama.", f"{arch}."): value for key, value in keys.items()}
    return gguf_bytes(renamed | more, tensors)


def test_a_tied_head_is_counted_a_second_time():
    spec = spec_of(without(llama_bytes(), "output.weight"))
    assert spec.tied_embeddings
    assert spec.output_bytes == (16 + 16 * 8) * F32


def test_experts_are_a_part_of_their_layer():
    keys: dict[str, object] = {
        "general.architecture": "qwen3moe",
        "qwen3moe.block_count": 1,
        "qwen3moe.context_length": 64,
        "qwen3moe.embedding_length": 16,
        "qwen3moe.attention.head_count": 2,
        "qwen3moe.expert_count": 4,
        "qwen3moe.expert_used_count": 2,
        "qwen3moe.vocab_size": 8,
    }
    tensors = [
        Tensor("token_embd.weight", (16, 8)),
        Tensor("blk.0.attn_norm.weight", (16,)),
        Tensor("blk.0.ffn_up_exps.weight", (16, 32, 4)),
        Tensor("blk.0.ffn_up_chexps.weight", (16, 8, 2)),
        Tensor("blk.0.ffn_norm_exps.weight", (16,)),
        Tensor("blk.0.ffn_up_shexp.weight", (16, 32)),
    ]
    spec = spec_of(gguf_bytes(keys, tensors))
    assert spec.layers[0].expert_bytes == (16 * 32 * 4 + 16 * 8 * 2) * F32
    assert spec.layers[0].weight_bytes == (16 * 2 + 16 * 32 * 5 + 16 * 8 * 2) * F32
    assert (spec.n_expert, spec.n_expert_used, spec.quant) == (4, 2, "F32")


@pytest.mark.parametrize(
    ("n_expert", "n_used", "said"),
    [
        (1 << 20, 1 << 20, r"1,048,576 experts .* limit of 1,024"),
        (64, 65, "65 experts where there are 64"),
        (0, 8, "8 experts where there are 0"),
    ],
)
def test_more_experts_than_llama_cpp_takes_are_refused(n_expert: int, n_used: int, said: str):
    """It would abort, and the graph of a step has a view of each."""
    keys = {"llama.expert_count": n_expert, "llama.expert_used_count": n_used}
    with pytest.raises(BadGGUF, match=said):
        spec_of(with_keys(llama_bytes(), keys))
    most = {"llama.expert_count": MAX_EXPERTS, "llama.expert_used_count": MAX_EXPERTS}
    assert spec_of(with_keys(llama_bytes(), most)).n_expert_used == MAX_EXPERTS


def test_a_dense_hunyuan_has_no_experts_whatever_its_keys_say():
    keys = {"general.architecture": "hunyuan-dense", "hunyuan-dense.expert_used_count": 8}
    spec = spec_of(rewritten(llama_bytes(), keys))
    assert (spec.n_expert, spec.n_expert_used) == (0, 0)


def test_a_models_own_file_has_no_matrices_of_adapters():
    """A graph adds each to the one before: of ten thousands it would be as deep as that."""
    hostile = with_tensor(llama_bytes(), Tensor("blk.0.attn_q.weight.lora_a.0", (16, 1)))
    with pytest.raises(BadGGUF, match="belongs to an adapter"):
        spec_of(hostile)


def test_draft_blocks_that_llama_cpp_leaves_out_weigh_nothing():
    keys: dict[str, object] = {
        "general.architecture": "glm4moe",
        "glm4moe.block_count": 2,
        "glm4moe.nextn_predict_layers": 1,
        "glm4moe.context_length": 64,
        "glm4moe.embedding_length": 16,
        "glm4moe.attention.head_count": 2,
        "glm4moe.vocab_size": 8,
    }
    tensors = [
        Tensor("token_embd.weight", (16, 8)),
        Tensor("blk.0.attn_norm.weight", (16,)),
        Tensor("blk.1.attn_norm.weight", (16,)),
    ]
    spec = spec_of(gguf_bytes(keys, tensors))
    assert [layer.weight_bytes for layer in spec.layers] == [16 * F32, 0]
    assert spec.layers[1].kv_kind == "none"


def test_a_head_is_as_heavy_as_its_block_and_nothing_without_what_joins_it():
    spec = spec_of(mtp_bytes())
    bare = spec_of(mtp_bytes(with_head=False))
    assert (spec.n_draft_layers, bare.n_draft_layers) == (1, 1)
    assert spec.layers == bare.layers, "llama.cpp leaves it out"
    assert spec.draft_bytes == spec.n_params * F32 - spec.weight_bytes
    assert bare.draft_bytes == 0


def test_positions_with_several_axes_are_noticed():
    keys = {"llama.rope.dimension_sections": [8, 12, 12, 0]}
    assert spec_of(with_keys(llama_bytes(), keys)).has_mrope
    assert not spec_of(llama_bytes()).has_mrope


def test_the_last_layers_are_known_to_be_for_drafts():
    keys = {"general.architecture": "glm4moe", "glm4moe.nextn_predict_layers": 1}
    assert spec_of(llama_bytes(n_layers=2)).n_draft_layers == 0
    assert spec_of(rewritten(llama_bytes(n_layers=2), keys)).n_draft_layers == 1


def test_a_layer_names_its_tensors_as_every_other_layer_does():
    spec = spec_of(llama_bytes(n_layers=2))
    first, second = spec.layers
    assert first.tensors is second.tensors
    assert {tensor.name for tensor in first.tensors} >= {"attn_q.weight", "ffn_down.weight"}
    assert [tensor.name for tensor in spec.tensors] == [
        "token_embd.weight", "output_norm.weight", "output.weight",
    ]  # fmt: skip


def test_the_largest_tensor_is_what_would_be_copied():
    layer = spec_of(llama_bytes()).layers[0]
    assert layer.largest_bytes == 16 * 32 * F32
    assert layer.largest_expert_bytes == 0
    unknown = LayerSpec(weight_bytes=100, expert_bytes=40)  # without its tensors: all of it
    assert (unknown.largest_bytes, unknown.largest_expert_bytes) == (100, 40)


def test_merges_are_counted_where_there_is_a_vocabulary():
    assert spec_of(llama_bytes()).n_merges == 0
    assert spec_of(llama_bytes(**{"tokenizer.ggml.merges": ["a b", "b c"]})).n_merges == 2
    bare = rewritten(llama_bytes(), {"general.architecture": "llama", "llama.vocab_size": 8})
    keys, tensors = parts(bare)
    del keys["tokenizer.ggml.tokens"]
    assert spec_of(gguf_bytes(keys, tensors)).n_merges is None


def test_rotary_factors_are_counted_apart():
    data = with_tensor(llama_bytes(), Tensor("rope_freqs.weight", (4,)))
    plain, rotary = spec_of(llama_bytes()), spec_of(data)
    assert rotary.rope_bytes == 4 * F32
    assert rotary.output_bytes == plain.output_bytes
    assert rotary.weight_bytes - plain.weight_bytes == 4 * F32


def test_specs_are_equal_by_all_they_say_though_few_facts_make_the_hash():
    one, other = spec_of(llama_bytes()), spec_of(llama_bytes())
    assert one == other
    assert hash(one) == hash(other)
    longer = spec_of(llama_bytes(**{"llama.context_length": 256}))
    assert one != longer


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"general.type": "adapter"}, "adapter"),
        ({"general.type": "imatrix"}, "importance matrix"),
        ({"general.architecture": "clip"}, "mmproj"),
        ({"general.architecture": ""}, r"general\.architecture"),
        ({"llama.context_length": "long"}, r"llama\.context_length"),
        ({"llama.block_count": 1}, r"blk\.1\."),
    ],
)
def test_what_is_no_model_is_refused_by_name(keys: dict[str, object], said: str):
    with pytest.raises(BadGGUF, match=said):
        spec_of(llama_bytes(n_layers=2, **keys))


def test_a_vocabulary_alone_is_no_model():
    with pytest.raises(BadGGUF, match="no tensors"):
        spec_of(gguf_bytes({"general.architecture": "llama"}))


# llama.cpp's own figures. KV bytes a cell: F16 2, Q8_0 34 for 32.

KV_BYTES = {"f16": 2.0, "q8_0": 34 / 32}


def padded(n: int, to: int = 256) -> int:
    return -(-n // to) * to


def memory_mib(spec: ModelSpec, n_ctx: int, kv: str, n_seqs: int) -> tuple[float, float]:
    """KV and recurrent state on split KV, n_ubatch 512: src/llama-kv-cache-iswa.cpp."""
    n_ctx_seq = padded(n_ctx // n_seqs)
    cells = {
        "full": n_ctx_seq,
        "latent": n_ctx_seq,
        "sliding": padded(min(n_ctx_seq, spec.n_swa + 512)),
        "recurrent": 0,
        "none": 0,
    }
    kv_bytes = sum(
        cells[x.kv_kind] * n_seqs * x.n_head_kv * (x.head_dim_k + x.head_dim_v) * KV_BYTES[kv]
        for x in spec.layers
    )
    return kv_bytes / 2**20, sum(x.state_bytes for x in spec.layers) * n_seqs / 2**20


@pytest.fixture(scope="module")
def true_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models and the unpacked headers, side by side."""
    folder = tmp_path_factory.mktemp("headers")
    with tarfile.open(SHARED_MODELS / "headers.tar.gz") as archive:
        for member in archive:
            unpack_head(archive, member, folder)
    for tiny in SHARED_MODELS.glob("*.gguf"):
        (folder / tiny.name).symlink_to(tiny)
    return folder


def unpack_head(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """The first 8 MiB and the right length: `extract` would write all zeros of the hole."""
    source = archive.extractfile(member)
    assert source is not None
    path = folder / member.name
    path.write_bytes(source.read(8 << 20))
    with path.open("r+b") as file:
        file.truncate(member.size)


@needs_shared_models
def test_weights_and_memory_equal_what_llama_cpp_allocates(true_models: Path):
    rows = json.loads((SHARED_MODELS / "memory_truth.json").read_text())
    specs: dict[str, ModelSpec] = {}
    compared = 0
    for row in rows:
        path = true_models / row["file"]
        if not path.exists() or not row["ok"]:
            continue
        if row["file"] not in specs:
            specs[row["file"]] = read_spec(path)
            tensors = [t for header in read_headers(path) for t in header.tensors]
            assert sum(t.n_bytes for t in tensors) == row["model_size"], row["file"]
            assert specs[row["file"]].n_params == row["n_params"], row["file"]
        kv_mib, state_mib = memory_mib(specs[row["file"]], row["n_ctx"], row["kv"], row["seqs"])
        assert kv_mib == pytest.approx(sum(row["kv_MiB"]), abs=0.01), row
        assert state_mib == pytest.approx(sum(row["rs_MiB"]), abs=0.01), row
        compared += 1
    assert len(specs) >= 18
    assert compared >= 90


@needs_shared_models
def test_the_embedding_models_say_so():
    mean = read_spec(SHARED_MODELS / "all-minilm-l6-v2-q8_0.gguf")
    assert (mean.is_embedding, mean.pooling, mean.causal) == (True, "mean", False)
    assert not mean.tied_embeddings
    rank = read_spec(SHARED_MODELS / "bert-mini-rerank-q8_0.gguf")
    assert rank.pooling == "rank"
