"""A LoRA adapter as a part of the model that it is for.

llama.cpp keeps each of its matrices in the buffer of the tensor that it changes, and computes both.
So a spec with the adapter's tensors in its layers takes the memory that the two take together.
Source: src/llama-adapter.cpp llama_adapter_lora_init_impl; src/llama-graph.cpp build_lora_mm.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count

from edgellm.errors import BadGGUF
from edgellm.models.anatomy.graph_facts import LayerTensor
from edgellm.models.gguf.header import GGUFHeader, TensorInfo
from edgellm.models.quants import BY_ID
from edgellm.models.spec import LayerSpec, ModelSpec, bare, layer_of

# Of an adapter's matrices: those that llama.cpp multiplies with, and that llama-quantize writes.
_TYPES = frozenset(
    {"f32", "f16", "bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q5_0", "q5_1", "q4_0", "q4_1"}
)


def with_adapter(spec: ModelSpec, header: GGUFHeader) -> ModelSpec:
    """Raises BadGGUF for another model's adapter. Several are added one after the other."""
    _check_is_for(header, spec.architecture)
    inside: list[list[TensorInfo]] = [[] for _ in spec.layers]
    outside = []
    for tensor in header.tensors:
        il = layer_of(tensor.name)
        if il is None:
            outside.append(tensor)
        elif il < spec.n_layers:
            inside[il].append(tensor)
        else:
            raise BadGGUF(f"{tensor.name!r} is beyond the model's {spec.n_layers} layers")
    of_input = [tensor for tensor in outside if tensor.name.startswith("token_embd.")]
    n_bytes = sum(tensor.n_bytes for tensor in header.tensors)
    return replace(
        spec,
        layers=tuple(map(_with, spec.layers, inside)),
        input_bytes=spec.input_bytes + _bytes(of_input),
        output_bytes=spec.output_bytes + _bytes(outside) - _bytes(of_input),
        file_bytes=spec.file_bytes + n_bytes,
        n_params=spec.n_params + sum(tensor.n_elements for tensor in header.tensors),
    )


def check_adapter(adapter: GGUFHeader, model: Sequence[GGUFHeader]) -> None:
    """Raises BadGGUF for what llama.cpp would refuse, and for what would end its process.

    Source: src/llama-adapter.cpp llama_adapter_lora_init_impl; the shapes that it doesn't compare
    meet in src/llama-graph.cpp build_lora_mm, build_lora_mm_id and build_inp_embd.
    """
    _check_is_for(adapter, model[0].architecture)
    _check_kind(adapter)
    tensors = {tensor.name: tensor for header in model for tensor in header.tensors}
    pairs: dict[str, dict[str, TensorInfo]] = {}
    for tensor in adapter.tensors:
        name, dot, side = tensor.name.rpartition(".lora_")
        if dot and side in ("a", "b"):
            pairs.setdefault(name, {})[side] = tensor
        elif not tensor.name.endswith("_norm.weight"):  # llama.cpp passes over these
            raise BadGGUF(f"the tensor {tensor.name!r} is neither a .lora_a nor a .lora_b")
    if not pairs:
        raise BadGGUF("this adapter changes nothing: it has no pair of .lora_a and .lora_b")
    for name, pair in pairs.items():
        base = tensors.get(name)
        if base is None:
            raise BadGGUF(f"this adapter changes {name!r}, which the model doesn't have")
        if len(pair) < 2:
            raise BadGGUF(f"{name!r} has only one matrix of .lora_a and .lora_b")
        _check_pair(base, pair["a"], pair["b"], is_tied="output.weight" not in tensors)


def _check_is_for(adapter: GGUFHeader, architecture: str) -> None:
    if adapter.text("general.type") != "adapter":
        raise BadGGUF(
            "this is no adapter (LoRA)", hint="llama.cpp's convert_lora_to_gguf.py makes one"
        )
    if adapter.architecture != architecture:
        raise BadGGUF(f"this adapter is for {adapter.architecture}, not for {architecture}")


def _check_kind(adapter: GGUFHeader) -> None:
    kind = adapter.text("adapter.type")
    if kind != "lora":
        raise BadGGUF(f"this adapter is of type {kind!r}; llama.cpp knows 'lora'")
    alpha = adapter.metadata.get("adapter.lora.alpha", 0.0)
    if not isinstance(alpha, float) or not math.isfinite(alpha):
        raise BadGGUF(f"'adapter.lora.alpha' is {alpha!r}, not a number")
    if "adapter.alora.invocation_tokens" in adapter.metadata:
        raise BadGGUF("this adapter begins in the middle of a prompt (aLoRA), which is not served")


def _check_pair(base: TensorInfo, a: TensorInfo, b: TensorInfo, *, is_tied: bool) -> None:
    is_input = base.name == "token_embd.weight"
    if is_input and is_tied:
        raise BadGGUF("this adapter changes the embedding of a model that uses it as its head, too")
    if BY_ID[base.type_id].name == "nvfp4":
        raise BadGGUF(f"{base.name!r} is of type NVFP4, beside which llama.cpp takes no adapter")
    wrong = next((one for one in (a, b) if BY_ID[one.type_id].name not in _TYPES), None)
    if wrong is not None:
        raise BadGGUF(f"{wrong.name!r} is of type {BY_ID[wrong.type_id].name}, no type of weights")
    n_in, n_out, *layers = _four(base)
    (a0, a1, *a_layers), (b0, b1, *b_layers) = _four(a), _four(b)
    joins = (b1, a1, a0) == (n_in, n_out, b0) if is_input else (a0, b1, a1) == (n_in, n_out, b0)
    if not joins or a_layers != layers or b_layers != layers:
        raise BadGGUF(
            f"the matrices for {base.name!r} are {a.shape} and {b.shape}; "
            f"they don't make one of {base.shape}",
            hint="the adapter is for another model, or damaged",
        )
    if b0 > min(n_in, n_out):
        raise BadGGUF(f"rank {b0} for {base.name!r} of {base.shape} can't be")


def _four(tensor: TensorInfo) -> tuple[int, ...]:
    return (*tensor.shape, 1, 1, 1, 1)[:4]


def _with(layer: LayerSpec, adapter: Iterable[TensorInfo]) -> LayerSpec:
    taken = {tensor.name for tensor in layer.tensors}
    tensors = [_numbered(bare(tensor), taken) for tensor in adapter]
    if not tensors:
        return layer
    return replace(
        layer,
        weight_bytes=layer.weight_bytes + sum(tensor.n_bytes for tensor in tensors),
        expert_bytes=layer.expert_bytes
        + sum(tensor.n_bytes for tensor in tensors if tensor.is_experts),
        tensors=(*layer.tensors, *tensors),
    )


def _numbered(tensor: LayerTensor, taken: set[str]) -> LayerTensor:
    """ "ffn_up.weight.lora_a" of the first adapter ends in ".0"."""
    names = (f"{tensor.name}.{i}" for i in count())
    return replace(tensor, name=next(name for name in names if name not in taken))


def _bytes(tensors: Iterable[TensorInfo]) -> int:
    return sum(tensor.n_bytes for tensor in tensors)
