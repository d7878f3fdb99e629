"""A LoRA adapter as a part of the model that it is for.

llama.cpp keeps each of its matrices in the buffer of the tensor that it changes, and computes both.
So a spec with the adapter's tensors in its layers takes the memory that the two take together.
Source: src/llama-adapter.cpp llama_adapter_lora_init_impl; src/llama-graph.cpp build_lora_mm.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import count

from edgellm.errors import BadGGUF
from edgellm.models.gguf import GGUFHeader, TensorInfo
from edgellm.models.graph_facts import LayerTensor
from edgellm.models.spec import LayerSpec, ModelSpec, bare, layer_of


def with_adapter(spec: ModelSpec, header: GGUFHeader) -> ModelSpec:
    """Raises BadGGUF for another model's adapter. Several are added one after the other."""
    if header.text("general.type") != "adapter":
        raise BadGGUF("this is no adapter (LoRA)")
    if header.architecture != spec.architecture:
        raise BadGGUF(f"this adapter is for {header.architecture}, not for {spec.architecture}")
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
