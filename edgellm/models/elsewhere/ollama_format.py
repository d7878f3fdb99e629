"""The GGUF files that Ollama's converter wrote, and its engine alone loads.

It is llama.cpp's with a layer before it that translates such files while they are loaded; its table
says how they are known. Source: Ollama's repository, llama/compat/README.md ("Supported
Transformations") and llama-ollama-compat.cpp; see also ggml-org/llama.cpp#27349. What llama.cpp
would load in spite of it (a tokenizer's flags) is not held against a file.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from edgellm.errors import BadGGUF
from edgellm.models.gguf.header import GGUFHeader

_OWN_ARCHITECTURES: Final = frozenset({
    "deepseekocr", "glm4moelite", "glmocr", "gptoss", "mllama", "nemotron_h_omni", "olmo3",
    "qwen25vl",
})  # fmt: skip
# Parts of a model that llama.cpp wants in a file of their own, or under other names: encoders of
# pictures and sounds, what joins them to the model, heads that guess tokens.
_PARTS: Final = ("v.", "mm.", "a.", "mtp.")


def check_format(headers: Sequence[GGUFHeader]) -> None:
    """Raises BadGGUF."""
    if what := _own(headers):
        raise BadGGUF(
            f"it is in a form that Ollama alone loads: {what}",
            hint="edgellm pull fetches it in llama.cpp's form; edgellm recommend names models",
        )


def _own(headers: Sequence[GGUFHeader]) -> str | None:
    arch = headers[0].architecture
    names = {tensor.name for header in headers for tensor in header.tensors}
    if arch in _OWN_ARCHITECTURES:
        return f"architecture {arch!r}"
    if part := next((name for name in sorted(names) if name.startswith(_PARTS)), None):
        return f"{part!r} in the language model's own file"
    if (is_own := _BY_ARCHITECTURE.get(arch)) and is_own(headers[0], names):
        return f"{arch} with keys or tensors of Ollama's own"
    return None


def _lacks_its_epsilon(header: GGUFHeader, names: set[str]) -> bool:
    return f"{header.architecture}.attention.layer_norm_rms_epsilon" not in header.metadata


def _calls_its_norm_otherwise(header: GGUFHeader, names: set[str]) -> bool:
    return "output_norm.weight" in names and "token_embd_norm.weight" not in names


def _has_a_bias_without_its_name(header: GGUFHeader, names: set[str]) -> bool:
    return any(name.endswith(".ssm_dt") for name in names)


_BY_ARCHITECTURE: Final[Mapping[str, Callable[[GGUFHeader, set[str]], bool]]] = {
    "gemma3": _lacks_its_epsilon,
    "lfm2": _calls_its_norm_otherwise,
    "qwen35": _has_a_bias_without_its_name,
    "qwen35moe": _has_a_bias_without_its_name,
    "qwen3next": _has_a_bias_without_its_name,
}
