"""What a graph depends on: layers by kind, and what lies beside a matrix."""

from dataclasses import replace

import pytest

from edgellm.models.anatomy.graph_facts import LayerTensor
from edgellm.models.known import catalog
from edgellm.models.spec import ModelSpec
from edgellm.selector.graph.outline import outline_of


def spec_of(name: str) -> ModelSpec:
    _, spec = catalog.model(catalog.find(name), "Q4_K_M")
    return spec


def test_layers_that_are_alike_are_one_kind_whatever_their_bytes():
    outline = outline_of(spec_of("qwen3:8b"))

    assert len({layer.weight_bytes for layer in spec_of("qwen3:8b").layers}) > 1
    assert outline.order == (0,) * 36
    assert len(outline.kinds) == 1


@pytest.mark.parametrize(
    ("beside", "matrix"),
    [
        ("attn_q.bias", "attn_q"),
        ("attn_q.scale", "attn_q"),
        ("shortconv.out_proj.bias", "shortconv.out_proj"),
        ("attn_q.weight.lora_a.0", "attn_q"),
    ],
)
def test_what_lies_beside_a_matrix_is_known_by_the_matrix(beside, matrix):
    bare = spec_of("llama3.1:8b")
    tensors = (*bare.layers[0].tensors, LayerTensor(beside, (4096,), 0))
    layers = tuple(replace(layer, tensors=tensors) for layer in bare.layers)

    (kind,) = outline_of(replace(bare, layers=layers, name=beside)).kinds

    assert kind.dressed == {matrix}
    assert outline_of(bare).kinds[0].dressed == set()
