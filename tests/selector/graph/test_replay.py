from dataclasses import replace

import pytest
import selector_specs as specs
from selector_layouts import on_devices, shape

from edgellm.models.anatomy.graph_facts import LayerTensor
from edgellm.models.spec import ModelSpec
from edgellm.selector.graph.replay import flash_runs, is_known, reserved_bytes
from edgellm.selector.memory.layout import HOST_ONLY
from edgellm.selector.memory.memory import needs


def without(spec: ModelSpec, name: str) -> ModelSpec:
    """Its files lack this tensor, in the layers or outside."""

    def left(tensors: tuple[LayerTensor, ...]) -> tuple[LayerTensor, ...]:
        return tuple(tensor for tensor in tensors if tensor.name != name)

    layers = tuple(replace(layer, tensors=left(layer.tensors)) for layer in spec.layers)
    return replace(spec, layers=layers, tensors=left(spec.tensors))


@pytest.mark.parametrize(
    "broken",
    [
        replace(specs.dense(), architecture="nobody-knows"),
        without(specs.dense(), "attn_q.weight"),
        without(specs.dense(), "ffn_down.weight"),
        without(specs.dense(), "token_embd.weight"),
        without(specs.moe(), "ffn_gate_inp.weight"),
        without(specs.deepseek_v3(), "attn_kv_a_mqa.weight"),
        replace(specs.moe(), n_expert_used=4096),
        replace(specs.moe(), n_expert_used=0),
    ],
    ids=lambda spec: spec.name,
)
@pytest.mark.parametrize("n_devices", [0, 1, 2])
def test_a_graph_that_cannot_be_drawn_is_estimated(broken: ModelSpec, n_devices: int):
    assert not is_known(broken)
    found = needs(broken, shape(4096), on_devices(broken, n_devices), exact=True)
    assert all(part.compute_bytes > 0 for part in found)


def test_whole_models_are_known():
    for spec in (specs.dense(), specs.moe(), specs.deepseek_v3(), specs.lfm2_350m(), specs.bert()):
        assert is_known(spec)


@pytest.mark.parametrize(
    "spec", [specs.llama_70b(), specs.moe(), specs.dense(n_layers=31), specs.dense(n_layers=3)]
)
@pytest.mark.parametrize("n_devices", [0, 1, 2, 4])
def test_layers_that_are_alike_need_not_all_be_drawn(spec: ModelSpec, n_devices: int):
    for n_outputs in (1, 512):
        context, layout = shape(n_outputs_max=n_outputs), on_devices(spec, n_devices)
        quick = reserved_bytes(spec, context, layout)
        assert quick == reserved_bytes(spec, context, layout, exact=True)


def test_copies_of_several_kinds_are_near_without_drawing_all():
    spec = specs.gemma3_27b()
    layout = on_devices(spec, 2, n_host=31)
    quick, exact = (reserved_bytes(spec, shape(), layout, exact=exact) for exact in (False, True))
    assert quick == pytest.approx(exact, rel=0.05)


def test_flash_attention_is_off_where_one_device_lacks_the_kernel():
    odd = specs.dense(n_head=50, n_head_kv=10, head_dim=82, quant="F16")
    assert flash_runs(odd, shape(), HOST_ONLY)
    assert not flash_runs(odd, shape(), on_devices(odd))
    assert flash_runs(odd, shape(kv_type_v="q8_0"), on_devices(odd))  # V quantized: it must be on
    assert not flash_runs(specs.dense(), shape(flash_attention=False), HOST_ONLY)


def test_draft_layers_take_no_part():
    spec = specs.dense(n_layers=32)
    drafted = replace(spec, layers=(*spec.layers, spec.layers[0]), n_draft_layers=1)
    assert reserved_bytes(drafted, shape(), HOST_ONLY) == reserved_bytes(spec, shape(), HOST_ONLY)


def test_a_wide_adapter_costs_its_products_too():
    spec = specs.dense()
    beside = (
        LayerTensor("ffn_up.weight.lora_a.0", (4096, 20000), 0),
        LayerTensor("ffn_up.weight.lora_b.0", (20000, 14336), 0),
    )
    layers = tuple(replace(layer, tensors=(*layer.tensors, *beside)) for layer in spec.layers)
    adapted = replace(spec, name="adapted", layers=layers)
    (plain,), (more,) = (reserved_bytes(s, shape(), HOST_ONLY) for s in (spec, adapted))
    assert more == plain + 512 * 20000 * 4  # the narrow product, beside both wide ones
