import pytest
from gguf_files import gguf_bytes

from edgellm.errors import BadGGUF
from edgellm.models.anatomy.graph_facts import GraphFacts, LayerTensor, graph_facts
from edgellm.models.gguf.header import GGUFHeader, parse_header


def facts(**keys: object) -> GraphFacts:
    named = {f"deepseek2.{key}": value for key, value in keys.items()}
    parsed = parse_header(gguf_bytes({"general.architecture": "deepseek2"} | named))
    assert isinstance(parsed, GGUFHeader)
    return graph_facts(parsed)


def test_a_silent_file_leaves_everything_to_the_architecture():
    assert facts() == GraphFacts()


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("expert_group_count", 8, "n_expert_groups", 8),
        ("expert_group_used_count", 4, "n_expert_groups_used", 4),
        ("expert_gating_func", 2, "expert_gating", 2),
        ("expert_weights_norm", True, "expert_weights_norm", True),
        ("ssm.inner_size", 1536, "ssm_inner", 1536),
        ("wkv.head_size", 64, "wkv_head_dim", 64),
        ("shortconv.l_cache", 3, "n_conv", 3),
    ],
)
def test_a_number_is_taken_from_its_key(key: str, value: object, field: str, expected: object):
    assert getattr(facts(**{key: value}), field) == expected


@pytest.mark.parametrize(("value", "scales"), [(2.5, True), (1.0, False), (0.0, False)])
def test_a_scale_of_one_or_none_is_no_operation(value: float, scales: bool):
    assert facts(expert_weights_scale=value).expert_weights_scaled is scales
    assert facts(embedding_scale=value).embedding_scaled is scales


def test_a_count_of_the_wrong_type_is_named():
    with pytest.raises(BadGGUF, match=r"ssm\.state_size"):
        facts(**{"ssm.state_size": "many"})


@pytest.mark.parametrize(
    ("name", "is_experts"),
    [
        ("ffn_up_exps.weight", True),
        ("ffn_gate_up_exps.weight", True),
        ("ffn_down_chexps.weight", True),
        ("ffn_down_exps.bias", True),
        ("ffn_up_shexp.weight", False),
        ("ffn_gate_inp.weight", False),
        ("ffn_up.weight", False),
    ],
)
def test_experts_are_what_llama_cpps_pattern_names(name: str, is_experts: bool):
    assert LayerTensor(name, (1,), 4).is_experts is is_experts
