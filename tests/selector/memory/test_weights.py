from dataclasses import replace

import pytest
import selector_specs as specs
from selector_layouts import on_devices

from edgellm.selector.memory.layout import HOST_ONLY
from edgellm.selector.memory.weights import cumulated_layer_bytes, host_weight_bytes, weight_bytes
from edgellm.selector.plan import ExpertPart


def test_a_tied_head_is_a_second_copy_only_away_from_the_host():
    spec = specs.gemma3_27b()
    norm = 4 * spec.n_embd
    assert host_weight_bytes(spec, holds_head=True) == spec.input_bytes + norm
    assert host_weight_bytes(spec, holds_head=False) == spec.input_bytes
    assert spec.output_bytes == spec.input_bytes + norm


def test_the_embedding_stays_with_the_host():
    spec = specs.dense()
    device, host = weight_bytes(spec, on_devices(spec))
    assert host == spec.input_bytes
    assert device + host == spec.weight_bytes


def test_the_head_leaves_the_host_before_any_layer():
    spec = specs.dense()
    device, host = weight_bytes(spec, on_devices(spec, n_host=spec.n_layers))
    assert device == spec.output_bytes
    assert device + host == spec.weight_bytes


@pytest.mark.parametrize("n_devices", [1, 2, 4])
def test_no_weight_is_lost_or_doubled(n_devices):
    spec = specs.moe()
    for n_host in (0, 7, spec.n_layers):
        for n_cpu_moe in (0, 20, spec.n_layers):
            layout = on_devices(spec, n_devices, n_host=n_host, n_cpu_moe=n_cpu_moe)
            assert sum(weight_bytes(spec, layout)) == spec.weight_bytes


def test_the_experts_of_the_first_layers_stay_with_the_host():
    spec = specs.moe()
    whole, _ = weight_bytes(spec, on_devices(spec))
    device, host = weight_bytes(spec, on_devices(spec, n_cpu_moe=10))
    experts = sum(layer.expert_bytes for layer in spec.layers[:10])
    assert (device, host) == (whole - experts, spec.input_bytes + experts)


def test_matrices_of_other_layers_follow_them():
    spec = specs.moe()
    parts = (ExpertPart(10, ("gate", "down")), ExpertPart(30, ("down",)))
    before = weight_bytes(spec, on_devices(spec, 2, n_cpu_moe=10))
    after = weight_bytes(spec, on_devices(spec, 2, n_cpu_moe=10, parts=parts))
    first, second = (spec.layers[il].matrices_bytes(matrices) for il, matrices in parts)
    assert [b - a for a, b in zip(before, after, strict=True)] == [-first, -second, first + second]
    assert sum(after) == spec.weight_bytes


def test_rotary_factors_are_loaded_by_everyone_who_has_layers():
    spec = replace(specs.dense(), rope_bytes=256)
    plain = specs.dense()
    layout = on_devices(spec, 2, n_host=3)
    more = zip(weight_bytes(spec, layout), weight_bytes(plain, layout), strict=True)
    assert [with_factors - without for with_factors, without in more] == [256, 256, 256]
    only_head = on_devices(spec, n_host=spec.n_layers)
    assert weight_bytes(spec, only_head)[0] == spec.output_bytes


def test_cumulated_bytes_end_with_the_head():
    spec = specs.dense()
    up_to = cumulated_layer_bytes(spec)
    assert len(up_to) == spec.n_layers + 2
    assert up_to[-1] == sum(layer.weight_bytes for layer in spec.layers) + spec.output_bytes


@pytest.mark.parametrize(
    "spec", [specs.dense(), specs.gemma3_27b(), specs.moe()], ids=lambda spec: spec.name
)
def test_on_the_host_alone_nothing_is_there_twice(spec):
    (total,) = weight_bytes(spec, HOST_ONLY)
    twice = spec.input_bytes if spec.tied_embeddings else 0
    assert total == spec.weight_bytes - twice
