import pytest
from gguf_files import Tensor, gguf_bytes

from edgellm import resources
from edgellm.errors import BadGGUF
from edgellm.models import local
from edgellm.models.elsewhere.ollama_format import check_format
from edgellm.models.gguf.header import parse_header


def header(arch, *names, **keys):
    tensors = [Tensor(name, (32, 2)) for name in ("token_embd.weight", *names)]
    keys = {key.replace("__", "."): value for key, value in keys.items()}
    return parse_header(gguf_bytes({"general.architecture": arch} | keys, tensors), 1 << 20)


def test_llama_cpps_form_is_everybodys():
    check_format(local.read_headers(resources.demo_model()))
    check_format([header("gpt-oss", "blk.0.attn_sinks.weight")])
    check_format([header("gemma3", gemma3__attention__layer_norm_rms_epsilon=1e-6)])
    check_format([header("lfm2", "token_embd_norm.weight")])
    check_format([header("qwen35moe", "blk.0.ssm_dt.bias")])
    check_format([header("a-newer-one", "blk.0.attn_q.weight")])  # llama.cpp has the last word


@pytest.mark.parametrize("arch", ["gptoss", "qwen25vl", "mllama", "glm4moelite"])
def test_an_architecture_of_ollamas_own_is_refused(arch):
    with pytest.raises(BadGGUF, match=f"architecture '{arch}'") as told:
        check_format([header(arch)])
    assert "edgellm pull" in told.value.hint


@pytest.mark.parametrize(
    "name", ["v.blk.0.attn_q.weight", "mm.0.weight", "a.conv1d.0.weight", "mtp.fc.weight"]
)
def test_what_llama_cpp_wants_in_another_file_is_told(name):
    with pytest.raises(BadGGUF, match=f"'{name}' in the language model's own file"):
        check_format([header("gemma4"), header("gemma4", name)])


@pytest.mark.parametrize(
    ("arch", "names"),
    [
        ("gemma3", ()),
        ("lfm2", ("output_norm.weight",)),
        ("qwen3next", ("blk.0.ssm_dt",)),
        ("qwen35", ("blk.3.ssm_dt",)),
    ],
)
def test_names_of_ollamas_converter_are_known_by_architecture(arch, names):
    with pytest.raises(BadGGUF, match=f"{arch} with keys or tensors of Ollama's own"):
        check_format([header(arch, *names)])
