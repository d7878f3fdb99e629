"""Headers over HTTP, against a hub on loopback that counts what it is asked for."""

from collections.abc import Iterator

import pytest
from gguf_files import Tensor, gguf_bytes, llama_bytes
from hub_server import Cut, HubServer, Status

from edgellm.errors import BadGGUF, NetworkError
from edgellm.models.fetching.hub import HuggingFaceHub
from edgellm.models.fetching.remote import read_remote_header, read_remote_headers
from edgellm.models.gguf.header import GGUFHeader, parse_header
from edgellm.models.quants import BY_NAME
from edgellm.models.repo_files import RepoFile
from edgellm.models.spec import model_spec

REPO = "org/tiny-GGUF"
MIB = 1 << 20
TOKENS = [f"token{n:05}" for n in range(150_000)]
MERGES = [f"tok en{n:05}" for n in range(150_000)]
LABELS = (
    "BF16", "F16", "Q8_0", "Q6_K", "Q6_K_L", "Q5_K_M", "Q5_K_S", "Q5_0", "Q4_K_M", "Q4_K_S",
    "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "Q3_K_L", "Q3_K_M", "IQ3_M", "Q2_K", "IQ2_M", "TQ1_0",
)  # fmt: skip
_TYPES = ("bf16", "f16", "q8_0", "q6_k", "q5_k", "q5_0", "q4_k", "q4_1", "q4_0", "iq4_nl",
          "iq4_xs", "q3_k", "iq3_s", "q2_k", "iq2_s", "tq1_0")  # fmt: skip


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        running.repos[REPO] = {}
        yield running


@pytest.fixture
def hub(server: HubServer) -> Iterator[HuggingFaceHub]:
    with HuggingFaceHub(
        endpoint=server.endpoint, token="", offline=False, stall_timeout_s=2.0
    ) as made:
        yield made


def type_of(label: str) -> str:
    return next(t for t in _TYPES if label.lower().startswith(t.rstrip("s").rstrip("_")))


def quantized(
    label: str,
    *,
    n_vocab: int = 150_000,
    n_layers: int = 3,
    head: dict[str, object] | None = None,
    tail: dict[str, object] | None = None,
    tensors: slice = slice(None),
) -> bytes:
    """As llama-quantize writes it: what it sets comes behind the vocabulary."""
    d, type_id = 256, BY_NAME[type_of(label)].id
    keys: dict[str, object] = {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "llama.block_count": n_layers,
        "llama.context_length": 4096,
        **(head or {}),
        "llama.embedding_length": d,
        "llama.feed_forward_length": 512,
        "llama.attention.head_count": 4,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": TOKENS[:n_vocab],
        "tokenizer.ggml.merges": MERGES[:n_vocab],
        "tokenizer.ggml.token_type": [1] * n_vocab,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.chat_template": "{{ messages }}" * 100,
        "general.quantization_version": 2,
        **(tail or {}),
    }
    all_tensors = [Tensor("output_norm.weight", (d,)), Tensor("token_embd.weight", (d, 32))]
    for il in range(n_layers):
        all_tensors += [
            Tensor(f"blk.{il}.attn_norm.weight", (d,)),
            Tensor(f"blk.{il}.attn_q.weight", (d, d), type_id),
            Tensor(f"blk.{il}.ffn_down.weight", (512, d), type_id),
        ]
    return gguf_bytes(keys, all_tensors[tensors])


def read_all(hub: HuggingFaceHub) -> dict[str, tuple[GGUFHeader, ...] | BadGGUF]:
    models = hub.list_files(REPO).listing.models
    headers = read_remote_headers(hub, models)
    return {model.quant: found for model, found in zip(models, headers, strict=True)}


def files_asked(server: HubServer) -> int:
    return sum(request.path.startswith("/cdn/") for request in server.requests)


@pytest.mark.slow
def test_twenty_quantizations_cost_twenty_requests_and_the_vocabulary_once(
    server: HubServer, hub: HuggingFaceHub
):
    data = {}
    for n, label in enumerate(LABELS):
        imatrix = {"quantize.imatrix.file": "imatrix.gguf", "quantize.imatrix.chunks_count": 120}
        first = {"general.file_type": 32} if label in ("BF16", "F16") else None
        last = {"general.file_type": n} | (imatrix if "Q8" not in label else {})
        data[label] = quantized(label, head=first, tail=None if first else last)
        server.add(REPO, f"tiny-{label}.gguf", data[label])
    assert sum(map(len, data.values())) > 120 * MIB
    models = hub.list_files(REPO).listing.models
    found = read_remote_headers(hub, models)
    assert files_asked(server) == 20
    assert server.sent_bytes <= 16 * MIB
    for model, headers in zip(models, found, strict=True):
        whole = parse_header(data[model.quant], len(data[model.quant]))
        (header,) = headers
        assert header.tensors == whole.tensors
        assert header.data_offset == whole.data_offset
        own = {"general.file_type"} if model.quant in ("BF16", "F16") else set()
        assert set(header.metadata) | own == set(whole.metadata) | own
        known = {key: whole.metadata[key] for key in header.metadata}
        assert header.metadata == known
        assert model_spec(headers, "x", model.quant) == model_spec([whole], "x", model.quant)


def test_another_model_in_the_same_repository_is_read_from_its_start(
    server: HubServer, hub: HuggingFaceHub
):
    server.add(REPO, "tiny-Q4_0.gguf", quantized("Q4_0"))
    server.add(REPO, "deep-Q8_0.gguf", quantized("Q8_0", n_layers=5))
    server.add(REPO, "words-F16.gguf", quantized("F16", n_vocab=30_000))
    found = read_all(hub)
    for label, n_layers, n_vocab in (
        ("Q4_0", 3, 150_000),
        ("Q8_0", 5, 150_000),
        ("F16", 3, 30_000),
    ):
        (header,) = found[label]
        assert header.metadata["llama.block_count"] == n_layers
        assert len(header.tokens) == n_vocab


@pytest.mark.parametrize(
    "longer", ["tiny-128K-Q8_0.gguf", "128K/tiny-Q8_0.gguf", "tiny-128K/tiny-128K-Q8_0.gguf"]
)
def test_a_model_with_a_longer_context_is_no_sibling_of_the_other(
    server: HubServer, hub: HuggingFaceHub, longer: str
):
    """Its keys before the vocabulary differ, and none of its tensors does."""
    long = {"llama.context_length": 131_072}
    server.add(REPO, "tiny-Q4_0.gguf", quantized("Q4_0"))
    server.add(REPO, longer, quantized("Q8_0", head=long))
    server.add(REPO, longer.replace("Q8_0", "Q6_K"), quantized("Q6_K", head=long))
    server.requests.clear()
    found = read_all(hub)
    lengths = {label: found[label][0].metadata["llama.context_length"] for label in found}
    assert lengths == {"Q4_0": 4096, "Q8_0": 131_072, "Q6_K": 131_072}
    assert files_asked(server) == 3
    assert server.sent_bytes < 2.5 * len(quantized("Q4_0")), "the vocabulary of each model once"


def test_parts_of_a_split_model_have_their_own_tensors(server: HubServer, hub: HuggingFaceHub):
    server.add(REPO, "tiny-Q4_0.gguf", quantized("Q4_0"))
    parts = [slice(0, 0), slice(0, 4), slice(4, None)]  # the first holds keys only
    for n, part in enumerate(parts):
        split = {"split.no": n, "split.count": 3, "split.tensors.count": 11}
        keys = {"n_vocab": 150_000, "tail": split} if n == 0 else {"n_vocab": 0, "tail": split}
        name = f"Q8_0/tiny-Q8_0-{n + 1:05}-of-00003.gguf"
        server.add(REPO, name, quantized("Q8_0", tensors=part, **keys))
    server.requests.clear()
    first, second, third = read_all(hub)["Q8_0"]
    assert [len(part.tensors) for part in (first, second, third)] == [0, 4, 7]
    assert (first.split_no, first.split_count, third.split_no) == (0, 3, 2)
    assert model_spec((first, second, third), "x").n_layers == 3
    assert files_asked(server) == 4


def test_a_file_that_only_looks_like_a_sibling_is_not_believed(
    server: HubServer, hub: HuggingFaceHub
):
    longer = quantized("Q8_0") + bytes(4096)  # more than its tensors say
    server.add(REPO, "tiny-Q4_0.gguf", quantized("Q4_0"))
    server.add(REPO, "tiny-Q8_0.gguf", longer)
    server.add(REPO, "tiny-F16.gguf", quantized("F16")[: -3 * 4096])
    found = read_all(hub)
    assert len(found["Q8_0"][0].tensors) == 11
    assert isinstance(found["F16"], BadGGUF), "read from its start, it is cut off"


def test_a_broken_file_costs_itself_only(server: HubServer, hub: HuggingFaceHub):
    server.add(REPO, "a-Q2_K.gguf", b"<html>" * 100)
    server.add(REPO, "tiny-Q4_0.gguf", quantized("Q4_0"))
    server.add(REPO, "tiny-Q8_0.gguf", quantized("Q8_0"))
    found = read_all(hub)
    assert isinstance(found["Q2_K"], BadGGUF)
    assert len(found["Q8_0"][0].tensors) == len(found["Q4_0"][0].tensors) == 11


def test_a_small_vocabulary_is_not_worth_a_trick(server: HubServer, hub: HuggingFaceHub):
    for label in ("Q4_0", "Q8_0"):
        server.add(REPO, f"tiny-{label}.gguf", quantized(label, n_vocab=20))
    found = read_all(hub)
    assert len(found["Q8_0"][0].tokens) == 20


def test_a_connection_that_breaks_for_good_is_a_network_error(
    server: HubServer, hub: HuggingFaceHub
):
    server.add(REPO, "tiny-Q4_0.gguf", quantized("Q4_0"))
    file = hub.list_files(REPO).files[0]
    server.faults.extend([Cut(after_bytes=2 * MIB), *[Cut(after_bytes=0)] * 3])
    with pytest.raises(NetworkError, match="broke"):
        read_remote_header(hub, file)


def test_a_hub_that_is_busy_or_hangs_up_is_asked_again_and_nothing_twice(
    server: HubServer, hub: HuggingFaceHub
):
    for label in ("Q4_0", "Q8_0"):
        server.add(REPO, f"tiny-{label}.gguf", quantized(label))
    no_fault = Cut(after_bytes=1 << 40)
    server.faults.extend([Status(503), Cut(after_bytes=2 * MIB), no_fault, Status(429)])
    found = read_all(hub)
    assert all(len(headers[0].tensors) == 11 for headers in found.values())
    asked = [one.range for one in server.requests if one.path.startswith("/cdn/")]
    begins = [int(str(one).removeprefix("bytes=").partition("-")[0]) for one in asked]
    assert begins[:3] == [0, 0, 2 * MIB]
    assert begins[3] == begins[4] > 2 * MIB
    assert len(begins) == 5


def test_a_remote_header_costs_a_range_and_not_the_file(server: HubServer, hub: HuggingFaceHub):
    server.add(REPO, "long-Q4_0.gguf", quantized("Q4_0") + bytes(32 * MIB))
    (file,) = hub.list_files(REPO).files
    header = read_remote_header(hub, file)
    assert header.tokens is not None
    assert len(header.tokens) == 150_000
    assert server.sent_bytes < 15 * MIB


def test_a_remote_file_that_is_no_gguf_is_bad(server: HubServer, hub: HuggingFaceHub):
    server.add(REPO, "page-Q8_0.gguf", b"<html>" * 100)
    (file,) = hub.list_files(REPO).files
    with pytest.raises(BadGGUF, match="not a GGUF"):
        read_remote_header(hub, file)


def test_an_empty_remote_file_is_bad_and_not_asked_for(server: HubServer, hub: HuggingFaceHub):
    server.add(REPO, "empty-Q8_0.gguf", b"")
    (file,) = hub.list_files(REPO).files
    with pytest.raises(BadGGUF, match="is empty"):
        read_remote_header(hub, file)
    assert len(server.requests) == 1


def test_a_remote_spec_equals_the_files_own(server: HubServer, hub: HuggingFaceHub):
    server.add(REPO, "tiny-F32.gguf", llama_bytes())
    (model,) = hub.list_files(REPO).listing.models
    (headers,) = read_remote_headers(hub, [model])
    spec = model_spec(headers, "tiny", model.quant)
    assert (spec.n_layers, spec.quant, spec.architecture) == (2, "F32", "llama")


def test_a_listing_that_is_longer_than_the_file_is_told(server: HubServer, hub: HuggingFaceHub):
    server.add(REPO, "tiny-F32.gguf", llama_bytes()[:500])
    (file,) = hub.list_files(REPO).files
    longer = RepoFile(file.path, 1 << 20, url=file.url)
    with pytest.raises(NetworkError, match="ended after 500 bytes"):
        read_remote_header(hub, longer)
