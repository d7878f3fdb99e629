"""Keys that llama.cpp insists on, read off the tensors of a catalog's shape.

Files have them. A shape states what decides about memory and speed, and the rest follows from its
tensors' dimensions. Sources: src/llama-model.cpp `load_hparams`, src/models/*.cpp
`load_arch_hparams`.
"""

from collections.abc import Iterator

from edgellm.models.gguf import GGUFHeader, TensorInfo
from edgellm.models.gguf_values import Value


def derived_keys(header: GGUFHeader) -> Iterator[tuple[str, Value]]:
    """All that can be told; what the header says itself goes before."""
    arch = header.architecture
    tensors = {tensor.name: tensor for tensor in header.tensors}
    if types := tensors.get("token_types.weight"):
        yield "tokenizer.ggml.token_type_count", types.shape[1]
    for norm in ("layer_norm_rms_epsilon", "layer_norm_epsilon"):
        yield f"{arch}.attention.{norm}", 1e-5
    for key, value in (*_latent(header.tensors), *_rope(tensors), *_experts(header.tensors)):
        yield f"{arch}.{key}", value


def _latent(tensors: tuple[TensorInfo, ...]) -> Iterator[tuple[str, int]]:
    """The ranks of a latent cache (MLA), and the part of a key that is rotated."""
    q, kv, joined = (
        _first(tensors, f".{name}.weight")
        for name in ("attn_q_a_norm", "attn_kv_a_norm", "attn_kv_a_mqa")
    )
    if q:
        yield "attention.q_lora_rank", q.shape[0]
    if kv:
        yield "attention.kv_lora_rank", kv.shape[0]
    if kv and joined:
        yield "rope.dimension_count", joined.shape[1] - kv.shape[0]


def _rope(tensors: dict[str, TensorInfo]) -> Iterator[tuple[str, int]]:
    """A factor for each pair of dimensions that is rotated."""
    if factors := tensors.get("rope_factors_long.weight"):
        yield "rope.dimension_count", 2 * factors.shape[0]


def _experts(tensors: tuple[TensorInfo, ...]) -> Iterator[tuple[str, int]]:
    routed = _first(tensors, ".ffn_up_exps.weight")
    if not routed:
        return
    width = routed.shape[1]
    yield "expert_feed_forward_length", width
    if shared := _first(tensors, ".ffn_up_shexp.weight"):
        yield "expert_shared_count", max(1, shared.shape[1] // width)
        yield "expert_shared_feed_forward_length", shared.shape[1]
    n_dense = sum(tensor.name.endswith(".ffn_up.weight") for tensor in tensors)
    yield "leading_dense_block_count", n_dense


def _first(tensors: tuple[TensorInfo, ...], ending: str) -> TensorInfo | None:
    return next((tensor for tensor in tensors if tensor.name.endswith(ending)), None)
