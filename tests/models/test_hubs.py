import pytest

from edgellm.errors import BadRequest, ConfigError
from edgellm.models.hubs import (
    address_of,
    endpoint_of,
    hub_by_environment,
    server_of,
    without_prefix,
)
from edgellm.models.names import HubReference, parse_reference

REPO = "Qwen/Qwen3-8B-GGUF"
FILE = "Qwen3-8B-Q4_K_M.gguf"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        (f"modelscope.cn/{REPO}", HubReference(REPO)),
        (f"modelscope.cn/{REPO}:q4_k_m", HubReference(REPO, "Q4_K_M")),
        (f"ModelScope.cn/{REPO}:latest", HubReference(REPO)),
        (f"ms://{REPO}", HubReference(REPO)),
        (f"ms://{REPO}/{FILE}", HubReference(REPO, file=FILE)),
        (f"modelscope://{REPO}:Q8_0", HubReference(REPO, "Q8_0")),
        (f"https://modelscope.cn/models/{REPO}", HubReference(REPO)),
        (f"https://www.modelscope.cn/models/{REPO}/", HubReference(REPO)),
        (f"https://www.modelscope.cn/models/{REPO}/summary", HubReference(REPO)),
        (f"https://www.modelscope.cn/models/{REPO}/files", HubReference(REPO)),
        (f"https://www.modelscope.cn/models/{REPO}/tree/master", HubReference(REPO)),
        (
            f"https://www.modelscope.cn/models/{REPO}/file/view/master/a/{FILE}?status=2",
            HubReference(REPO, file=f"a/{FILE}"),
        ),
        (
            f"https://modelscope.cn/models/{REPO}/file/view/master?fileName=a%2F{FILE}&status=2",
            HubReference(REPO, file=f"a/{FILE}"),
        ),
        (
            f"https://modelscope.cn/models/{REPO}/file/view/master/a%2F{FILE}",
            HubReference(REPO, file=f"a/{FILE}"),
        ),
        (
            f"https://www.modelscope.cn/models/{REPO}/resolve/v1.0/{FILE}",
            HubReference(REPO, file=FILE, revision="v1.0"),
        ),
        (
            f"https://www.modelscope.cn/api/v1/models/{REPO}/repo?Revision=master&FilePath=a%2F{FILE}",
            HubReference(REPO, file=f"a/{FILE}"),
        ),
    ],
)
def test_modelscopes_addresses_name_what_hugging_faces_do(text: str, reference: HubReference):
    found = parse_reference(text)
    assert found == reference
    assert isinstance(found, HubReference)
    assert (found.hub, address_of(found.repo, found.hub)) == ("modelscope", f"modelscope.cn/{REPO}")


def test_whose_name_says_nothing_of_a_hub_is_the_settings():
    for text, hub, address in (
        (REPO, None, f"hf.co/{REPO}"),
        (f"hf.co/{REPO}", "huggingface", f"hf.co/{REPO}"),
    ):
        found = parse_reference(text)
        assert isinstance(found, HubReference)
        assert (found.hub, address_of(found.repo, found.hub)) == (hub, address)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"https://www.modelscope.ai/models/{REPO}", "MODELSCOPE_ENDPOINT=https://www.modelscope"),
        (f"modelscope.ai/{REPO}", "write it like modelscope.cn/ORG/REPO"),
        (f"https://www.modelscope.cn/models/{REPO}/files/x", ""),
        ("https://www.modelscope.cn/datasets", ""),
        ("ms://", ""),
        (f"ms://{REPO}/../x.gguf", ""),
        ("https://models.example/x.gguf", "download it"),
    ],
)
def test_what_names_no_model_of_a_hub_is_a_bad_request(text: str, said: str):
    with pytest.raises(BadRequest) as raised:
        parse_reference(text)
    assert said in raised.value.hint


def test_the_prefixes_of_both_hubs_are_dropped():
    assert without_prefix(f"hf.co/{REPO}:Q8_0") == f"{REPO}:Q8_0"
    assert without_prefix(f"modelscope.cn/{REPO}") == REPO
    assert without_prefix("qwen3:8b") == "qwen3:8b"


@pytest.mark.parametrize(
    ("environ", "hugging_face", "modelscope"),
    [
        ({}, "https://huggingface.co", "https://www.modelscope.cn"),
        ({"HF_ENDPOINT": "https://m.example/"}, "https://m.example", "https://www.modelscope.cn"),
        (
            {"MODELSCOPE_DOMAIN": "www.modelscope.ai"},
            "https://huggingface.co",
            "https://www.modelscope.ai",
        ),
        (
            {"MODELSCOPE_ENDPOINT": "http://a:1/", "MODELSCOPE_DOMAIN": "b"},
            "https://huggingface.co",
            "http://a:1",
        ),
        (
            {"MODEL_ENDPOINT": "https://www.modelscope.cn/"},
            "https://huggingface.co",
            "https://www.modelscope.cn",
        ),
        (
            {"MODEL_ENDPOINT": "https://hf-mirror.example/"},
            "https://hf-mirror.example",
            "https://www.modelscope.cn",
        ),
        (
            {"MODEL_ENDPOINT": "https://a.example", "HF_ENDPOINT": "https://b.example"},
            "https://b.example",
            "https://www.modelscope.cn",
        ),
        (
            {"HF_ENDPOINT": " ", "MODEL_ENDPOINT": "http://[::1"},
            "http://[::1",
            "https://www.modelscope.cn",
        ),
    ],
)
def test_each_hub_is_where_its_own_tools_variables_say(
    environ: dict[str, str], hugging_face: str, modelscope: str
):
    assert endpoint_of("huggingface", environ)[0] == hugging_face
    assert endpoint_of("modelscope", environ)[0] == modelscope


def test_what_is_no_address_is_told_by_its_variable():
    with pytest.raises(ConfigError, match=r"MODEL_ENDPOINT 'http://\[::1'"):
        server_of(*endpoint_of("huggingface", {"MODEL_ENDPOINT": "http://[::1"}))
    with pytest.raises(ConfigError) as raised:
        server_of(*endpoint_of("modelscope", {"MODELSCOPE_ENDPOINT": "ftp://x"}))
    assert raised.value.hint == "write it like https://www.modelscope.cn"


@pytest.mark.parametrize(
    ("url", "hub"),
    [
        ("https://www.modelscope.cn/", "modelscope"),
        ("https://modelscope.ai", "modelscope"),
        ("https://modelscope.cn.evil.example", None),
        ("https://huggingface.co/", None),
        ("http://[::1", None),
        ("", None),
    ],
)
def test_llama_cpps_variable_tells_of_modelscope(url: str, hub: str | None):
    assert hub_by_environment({"MODEL_ENDPOINT": url}) == hub
