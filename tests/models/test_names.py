import pytest

from edgellm.errors import BadRequest
from edgellm.models.names import (
    CatalogReference,
    HubReference,
    PathReference,
    Reference,
    family,
    is_safe_path,
    parse_reference,
    quant_label,
    shard_names,
    unservable_reason,
)

REPO = "Qwen/Qwen3-8B-GGUF"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("./x.gguf", PathReference("./x.gguf")),
        ("x.gguf", PathReference("x.gguf")),
        ("models/x.GGUF", PathReference("models/x.GGUF")),
        ("/models/x", PathReference("/models/x")),
        ("~/x.gguf", PathReference("~/x.gguf")),
        ("file:///models/x.gguf", PathReference("/models/x.gguf")),
        (f"hf.co/{REPO}", HubReference(REPO)),
        (f"hf.co/{REPO}:q4_k_m", HubReference(REPO, "Q4_K_M")),
        (f"huggingface.co/{REPO}:UD-Q4_K_XL", HubReference(REPO, "UD-Q4_K_XL")),
        (f"https://huggingface.co/{REPO}/", HubReference(REPO)),
        (f"https://huggingface.co/{REPO}/tree/main", HubReference(REPO)),
        (f"hf://{REPO}", HubReference(REPO)),
        (f"HF.co/{REPO}", HubReference(REPO)),
        (f"hf.co/{REPO}/a/b-Q8_0.gguf", HubReference(REPO, file="a/b-Q8_0.gguf")),
        (
            f"https://huggingface.co/{REPO}/resolve/abc123/b-Q8_0.gguf?download=true",
            HubReference(REPO, file="b-Q8_0.gguf", revision="abc123"),
        ),
        (f"https://hf.co/{REPO}/blob/main/b-Q8_0.gguf", HubReference(REPO, file="b-Q8_0.gguf")),
        (
            f"https://huggingface.co/{REPO}?show_file_info=a%2Fb-Q8_0.gguf",
            HubReference(REPO, file="a/b-Q8_0.gguf"),
        ),
        (
            f"https://huggingface.co/{REPO}/tree/main/a?show_file_info=a%2Fb-Q8_0.gguf",
            HubReference(REPO, file="a/b-Q8_0.gguf"),
        ),
        (f"https://huggingface.co/{REPO}?library=gguf#usage", HubReference(REPO)),
        (REPO, HubReference(REPO)),
        (f" {REPO}:Q8_0 ", HubReference(REPO, "Q8_0")),
        ("org/fp16:fp16", HubReference("org/fp16", "F16")),
        ("qwen3", CatalogReference("qwen3")),
        ("qwen3:8b", CatalogReference("qwen3:8b")),
        ("Qwen3:8B-Q8_0", CatalogReference("qwen3:8b", "Q8_0")),
        ("qwen3:q4_k_m", CatalogReference("qwen3", "Q4_K_M")),
        ("qwen3:1.7b:Q8_0", CatalogReference("qwen3:1.7b", "Q8_0")),
        ("qwen3:1.7b:q8_0", CatalogReference("qwen3:1.7b", "Q8_0")),
        ("qwen3:latest:Q8_0", CatalogReference("qwen3", "Q8_0")),
        ("gpt-oss:20b", CatalogReference("gpt-oss:20b")),
        ("qwen3:30b-a3b-instruct-2507", CatalogReference("qwen3:30b-a3b-instruct-2507")),
        ("llama3.2:1b-ud-q4_k_xl", CatalogReference("llama3.2:1b", "UD-Q4_K_XL")),
        ("qwen3:latest", CatalogReference("qwen3")),
        (f"{REPO}:Latest", HubReference(REPO)),
        ("file:///my%20models/x.gguf", PathReference("/my models/x.gguf")),
        (f"https://hf.co/{REPO}/blob/main/a%20b.gguf", HubReference(REPO, file="a b.gguf")),
        (
            f"https://huggingface.co/{REPO}/blob/refs%2Fpr%2F3/b.gguf",
            HubReference(REPO, file="b.gguf", revision="refs/pr/3"),
        ),
    ],
)
def test_a_reference_is_read(text: str, reference: Reference):
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "qwen3:",
        "hf.co/onlyorg",
        "hf.co/a/../b",
        "org/..",
        "-x/y",
        "org/re--po",
        f"hf.co/{REPO}:",
        f"{REPO}:Q4;rm",
        f"hf.co/{REPO}/../../x.gguf",
        f"hf.co/{REPO}/%2e%2e/x.gguf",
        f"hf.co/{REPO}/blob/..%2F..%2Frefs/x.gguf",
        f"hf.co/{REPO}/blob/../x.gguf",
        "hf.co/a%2Fb/c",
        f"hf.co/{REPO}/a\\b.gguf",
        f"hf.co/{REPO}/README.md",
        "https://example.com/x",
        "ftp://x/y",
        "a/b/c/d",
    ],
)
def test_what_names_no_model_is_a_bad_request(text: str):
    if text == f"hf.co/{REPO}:":  # a forgotten quant is no quant
        assert parse_reference(text) == HubReference(REPO)
        return
    with pytest.raises(BadRequest):
        parse_reference(text)


@pytest.mark.parametrize("label", ["Q4", "Q9_X", ""])
def test_a_quantization_that_is_none_is_told_apart_from_a_name_that_is_none(label):
    with pytest.raises(BadRequest, match=f"'{label}' is no quantization") as refused:
        parse_reference(f"qwen3:8b:{label}")
    assert refused.value.hint == ("write it like qwen3:8b:Q4_K_M; edgellm show qwen3:8b lists them")


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("Qwen3-8B-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf", "Q4_K_M"),
        ("Mistral-7B.Q4_K_M.gguf", "Q4_K_M"),
        ("model.i1-IQ4_XS.gguf", "IQ4_XS"),
        ("UD-Q4_K_XL/Qwen3-235B-UD-Q4_K_XL-00001-of-00003.gguf", "UD-Q4_K_XL"),
        ("BF16/model-00001-of-00009.gguf", "BF16"),
        ("Llama-3.2-1B-Instruct-Q6_K_L.gguf", "Q6_K_L"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("gpt-oss-20b-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("gemma-3-1b-it-f16.gguf", "F16"),
        ("qwen2.5-0.5b-instruct-fp16.gguf", "F16"),
        ("model-TQ1_0.gguf", "TQ1_0"),
        ("Llama-Q4_K_M-imat.gguf", "Q4_K_M"),
        ("Model-IQ4_KS.gguf", "IQ4_KS"),
        ("Model-Q4_0_4_8.gguf", "Q4_0_4_8"),
        ("Model-Q4_K_R4.gguf", "Q4_K_R4"),
        ("model-NVFP4.gguf", "NVFP4"),
        ("model-Q1_0.gguf", "Q1_0"),
        ("model-Q2_0.gguf", "Q2_0"),
        ("model-TQ2_0.gguf", "TQ2_0"),
        ("Model-UD-IQ2_XXS.gguf", "UD-IQ2_XXS"),
        ("Model-UD-Q8_K_XL-00001-of-00002.gguf", "UD-Q8_K_XL"),
        ("Q8_0/model-00001-of-00002.gguf", "Q8_0"),
        ("model.Q3_K_XL.gguf", "Q3_K_XL"),
        ("qwen3-8b-i1-q4_k_m.gguf", "Q4_K_M"),
        ("model-f32.gguf", "F32"),
        ("bitnet-I2_S.gguf", "I2_S"),
        ("model-TURBO3_0.gguf", "TURBO3_0"),
        ("tinyllama.gguf", None),
        ("Q2-project.gguf", None),
    ],
)
def test_a_label_is_found_wherever_publishers_put_it(path: str, label: str | None):
    assert quant_label(path) == label


@pytest.mark.parametrize(
    "label",
    [
        "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "IQ4_KS", "IQ4_KSS", "IQ2_KL", "IQ5_K", "IQ3_KT",
        "Q4_K_R4", "IQ4_XS_R8", "Q8_K_R8", "IQ1_BN", "Q6_0", "I2_S", "TURBO3_0",
    ],
)  # fmt: skip
def test_types_that_llama_cpp_cannot_load_have_a_reason(label: str):
    assert unservable_reason(label)


@pytest.mark.parametrize(
    "label",
    ["Q4_0", "IQ4_XS", "IQ4_NL", "Q4_K_M", "UD-Q4_K_XL", "MXFP4", "NVFP4", "TQ2_0", "Q1_0", "Q2_0"],
)
def test_types_that_it_loads_have_none(label: str):
    assert unservable_reason(label) is None


def test_shards_are_named_in_order_and_absurd_counts_are_no_shards():
    assert shard_names("m-00002-of-00003.gguf") == tuple(
        f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)
    )
    for name in (
        "m.gguf",
        "m-00004-of-00003.gguf",
        "m-00000-of-00003.gguf",
        "m-00001-of-99999.gguf",
    ):
        assert shard_names(name) == (name,)


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/etc/x",
        "a/../x",
        "a\\x",
        "C:x",
        "x\0",
        "x\n",
        "con",
        "NUL.gguf",
        "x.",
        "x ",
        "a//b",
        "n" * 256,
        "\udcff.gguf",  # no UTF-8
    ],
)
def test_a_path_that_could_leave_its_folder_is_unsafe(path: str):
    assert not is_safe_path(path)


@pytest.mark.parametrize(
    "name",
    ["M-it-fp16.gguf", "M-it-F16.gguf", "m-it.Q4_K_M.gguf", "m-IT-UD-Q4_K_XL-00001-of-00002.gguf"],
)
def test_the_mixes_of_one_model_are_one_family_however_their_label_is_written(name: str):
    assert family(name) == "m-it"
