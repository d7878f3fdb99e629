import datetime
import tomllib
from pathlib import Path

import pytest
from models_fakes import SHARED_MODELS, needs_shared_models

from edgellm.errors import BadRequest, ModelNotFound
from edgellm.models.known.catalog import (
    CatalogEntry,
    find,
    hub_reference,
    load_catalog,
    names,
    plannable_quants,
    spec,
)
from edgellm.models.known.shapes import shape_header
from edgellm.models.local import read_spec
from edgellm.models.names import CatalogReference, HubReference, parse_reference
from edgellm.resources import profiles_dir

GIB = 1 << 30
ENTRIES = load_catalog()
by_name = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


@by_name
def test_every_row_says_where_from_and_when(entry: CatalogEntry):
    assert entry.source
    assert datetime.date.fromisoformat(entry.date)
    assert entry.license
    assert entry.repo is None or isinstance(parse_reference(entry.repo), HubReference)
    assert parse_reference(entry.name) == CatalogReference(entry.name)


@by_name
def test_every_shape_has_as_many_parameters_as_its_publisher_says(entry: CatalogEntry):
    """To the last one; a figure that was rounded to three or four digits, within 0.5 %."""
    if entry.n_params is None:
        return
    tensors = shape_header(entry.shape, entry_quants(entry)[0]).tensors
    # computed by llama.cpp's converter, not trained, so not in the published count
    factors = sum(t.n_elements for t in tensors if t.name.startswith("rope_"))
    computed = sum(t.n_elements for t in tensors) - factors
    is_rounded = entry.n_params % 10_000 == 0
    assert computed == pytest.approx(entry.n_params, rel=0.005 if is_rounded else 0)


def test_hardly_a_row_goes_without_a_published_count():
    assert [entry.name for entry in ENTRIES if entry.n_params is None] == [
        "all-minilm:l6-v2",  # held against its real file below
        "glm-130b:130b",  # "130 billion" is a rounding up
        "hunyuan:4b",
    ]


def entry_quants(entry: CatalogEntry) -> list[str]:
    return ["MXFP4_MOE" if q == "MXFP4" else q for q in plannable_quants(entry)]


@by_name
def test_every_row_can_be_planned_offline_with_the_best_quant_first(entry: CatalogEntry):
    specs = [spec(entry, quant) for quant in plannable_quants(entry)]
    sizes = [made.file_bytes for made in specs]
    assert sizes
    assert sizes[0] == max(sizes)
    assert all(made.n_layers == entry.shape.n_layers for made in specs)
    assert all(made.license == entry.license for made in specs)


def test_a_family_is_found_in_the_file_of_its_name():
    for path in (profiles_dir() / "models").glob("*.toml"):
        assert tomllib.loads(path.read_text())["family"] == path.stem


def test_no_name_is_there_twice():
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES) > 100


# Sizes that llama-bench printed for files of the hub (facts/benchmarks.csv and their sources).
@pytest.mark.parametrize(
    ("name", "quant", "gib"),
    [
        ("llama3.1:8b", "Q4_K_M", 4.58),
        ("llama3.1:8b", "F16", 14.96),
        ("llama3.1:70b", "Q4_K_M", 39.59),
        ("llama3.2:3b", "Q4_K_M", 1.87),
        ("llama2:7b", "Q4_0", 3.56),
        ("llama2:7b", "Q8_0", 6.67),
        ("llama2:13b", "Q4_K_M", 7.33),
        ("mistral:7b", "Q4_K_M", 4.07),
        ("qwen2.5:7b", "Q8_0", 7.54),
        ("deepseek-r1:14b", "Q4_K_M", 8.37),
        ("qwen3:30b-a3b", "Q4_K_M", 17.28),
        ("qwen3:30b-a3b", "Q8_0", 30.25),
        ("qwen3:30b-a3b-instruct-2507", "Q3_K_M", 13.70),
        ("gpt-oss:20b", "MXFP4", 11.27),
        ("gpt-oss:120b", "MXFP4", 59.02),
        ("tinyllama:1.1b", "Q4_0", 0.59),
    ],
)
def test_the_computed_size_is_the_published_one(name: str, quant: str, gib: float):
    assert spec(find(name), quant).file_bytes / GIB == pytest.approx(gib, abs=0.011)


@needs_shared_models
def test_the_embedding_model_equals_its_real_file():
    real = read_spec(SHARED_MODELS / "all-minilm-l6-v2-q8_0.gguf")
    computed = spec(find("all-minilm"), "Q8_0")
    assert computed.layers == real.layers
    assert computed.n_params == real.n_params
    assert (computed.pooling, computed.causal) == (real.pooling, real.causal)


def test_known_kv_sums_come_out():
    """Llama-3-70B at 8k, F16: 2.5 GiB. gpt-oss slides in each second layer, gemma3 in 5 of 6."""
    layer = spec(find("llama3.3"), "Q4_K_M").layers[0]
    assert 80 * 8192 * 2 * layer.n_head_kv * (layer.head_dim_k + layer.head_dim_v) == 2.5 * GIB
    kinds = [layer.kv_kind for layer in spec(find("gpt-oss:20b"), "MXFP4").layers]
    assert kinds == ["sliding", "full"] * 12
    kinds = [layer.kv_kind for layer in spec(find("gemma3:27b"), "Q4_K_M").layers]
    assert kinds.count("full") == 10
    assert spec(find("deepseek-r1:671b"), "Q4_K_M").layers[0].kv_kind == "latent"


def test_a_family_name_means_its_default_size():
    assert find("qwen3").name == "qwen3:8b"


def test_an_unknown_name_gets_a_near_one():
    with pytest.raises(ModelNotFound, match=r"qwen3:9b") as raised:
        find("qwen3:9b")
    assert "qwen3:" in raised.value.hint


@pytest.mark.parametrize(
    "family",
    [
        "llama", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma2",
        "gemma3", "qwen2.5", "qwen3", "qwen3-next", "qwen3.5", "qwen3.6", "gpt-oss",
        "deepseek-v3", "deepseek-r1", "glm-130b", "chatglm2", "glm4", "glm4.5", "glm4.6",
        "baichuan", "internlm", "mpt", "bloom", "mixtral", "phi2", "phi3", "phi4", "mistral",
        "lfm2", "smollm2", "smollm3", "ernie4.5", "hunyuan",
    ],
)  # fmt: skip
def test_the_promised_families_are_there(family: str):
    assert find(family).name.startswith(f"{family}:")


def test_what_llama_cpp_does_not_know_can_be_planned_and_not_fetched():
    entry = find("glm-130b")
    assert not entry.is_servable
    assert spec(entry, "Q8_0").file_bytes / GIB == pytest.approx(127.5, rel=0.01)
    with pytest.raises(ModelNotFound, match="no repository") as raised:
        hub_reference(CatalogReference("glm-130b"))
    assert "edgellm plan" in raised.value.hint
    assert [e.name for e in ENTRIES if not e.is_servable] == ["glm-130b:130b"]


def test_a_mix_can_be_wished_that_the_repository_does_not_list():
    assert "F16" not in plannable_quants(find("llama2:70b"))
    assert plannable_quants(find("llama2:70b"), "F16") == ("F16",)
    assert plannable_quants(find("llama2:70b"), "UD-Q4_K_XL") == ()


def test_hybrids_keep_a_state_in_three_layers_of_four():
    kinds = [layer.kv_kind for layer in spec(find("qwen3.5:27b"), "Q4_K_M").layers]
    assert kinds == ["recurrent", "recurrent", "recurrent", "full"] * 16
    kinds = [layer.kv_kind for layer in spec(find("llama4:scout"), "Q4_K_M").layers]
    assert kinds.count("sliding") == 36
    kinds = [layer.kv_kind for layer in spec(find("gemma2:9b"), "Q4_K_M").layers]
    assert kinds == ["sliding", "full"] * 21


def test_a_mix_without_public_rules_is_not_guessed():
    with pytest.raises(BadRequest, match="UD-Q4_K_XL"):
        spec(find("qwen3:8b"), "UD-Q4_K_XL")


@needs_shared_models
def test_computed_layers_equal_those_of_true_headers(tmp_path: Path):
    import tarfile

    pairs = {
        "deepseek-v3-q4_k_m": ("deepseek-r1:671b", "Q4_K_M"),
        "gemma-3-27b-q4_k_m": ("gemma3:27b", "Q4_K_M"),
        "gpt-oss-20b-mxfp4_moe": ("gpt-oss:20b", "MXFP4"),
        "llama-3.3-70b-q4_k_m": ("llama3.3:70b", "Q4_K_M"),
        "qwen3-30b-a3b-q4_k_m": ("qwen3:30b-a3b", "Q4_K_M"),
    }
    with tarfile.open(SHARED_MODELS / "headers.tar.gz") as archive:
        for file, (name, quant) in pairs.items():
            member = archive.getmember(f"{file}-header.gguf")
            source = archive.extractfile(member)
            assert source is not None
            path = tmp_path / member.name
            path.write_bytes(source.read(8 << 20))
            with path.open("r+b") as sparse:
                sparse.truncate(member.size)
            real, computed = read_spec(path), spec(find(name), quant)
            assert computed.layers == real.layers, name
            assert computed.output_bytes == real.output_bytes, name
            assert computed.input_bytes == real.input_bytes, name
            assert computed.n_swa == real.n_swa, name


def test_a_name_begins_as_families_and_becomes_a_model_of_the_only_one_left():
    everything = {entry.name for entry in load_catalog()}

    assert {*names("")} == {name.partition(":")[0] for name in everything}
    assert {*names("qwen3:")} == {name for name in everything if name.startswith("qwen3:")}
    assert {*names("gpt-o")} == {name for name in everything if name.startswith("gpt-oss:")}
    assert names("qwen3:8b") == ("qwen3:8b",)
    assert names("nosuch:") == names("nosuch") == ()
