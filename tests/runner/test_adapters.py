"""Which adapters there are, and which a request is computed with."""

import pytest
from gguf_files import Tensor, gguf_bytes

from edgellm.errors import BadRequest, DoesNotFit, ModelNotFound
from edgellm.models.gguf.header import parse_header
from edgellm.runner.adapters import MAX_ADAPTERS, Adapter, AdapterList, check_room


def two(scale=0.0):
    return AdapterList([Adapter(0, "Style", "s.gguf", 0.5), Adapter(1, "facts", "f.gguf", scale)])


@pytest.mark.parametrize(
    ("asked", "model", "wanted"),
    [
        (None, "", ((0, 0.5),)),
        (None, "anything", ((0, 0.5),)),
        (None, "style", ((0, 0.5),)),
        (None, "facts", ((1, 1.0),)),
        ({}, "", ()),
        ({1: 2.0}, "", ((1, 2.0),)),
        ({1: 2.0, 0: 0.25}, "", ((0, 0.25), (1, 2.0))),
        ({0: 0.0}, "", ()),
        ({0: 0.0}, "facts", ()),
    ],
)
def test_the_first_that_speaks_decides(asked, model, wanted):
    assert two().wanted(asked, model) == wanted


def test_scales_that_hardly_differ_are_one_set_so_that_they_run_together():
    near = {two().wanted({0: 1 + i / 20_000}, "") for i in range(8)}
    assert near == {((0, 1.0),)}
    assert two().wanted({0: 0.1, 1: -0.3}, "") == ((0, 102 / 1024), (1, -307 / 1024))
    assert two().wanted({0: 0.0004}, "") == ()
    assert two(scale=1.0003).wanted(None, "facts") == ((1, 1.0),)
    assert two(scale=0.0004).wanted(None, "facts") == ()
    assert two(scale=1.0003).wanted(None, "") == ((0, 0.5), (1, 1.0))


def test_a_number_is_never_given_twice():
    adapters = two()
    adapters.remove("FACTS")
    new = adapters.new("facts", "other.gguf")
    assert new.id == 2
    adapters.add(new)
    adapters.remove("facts")
    assert adapters.new("facts", "f.gguf").id == 3


def test_scales_go_to_everybody_and_who_is_not_named_loses_its_own():
    adapters = two()
    adapters.give_scales({1: 0.25})
    assert adapters.wanted(None, "") == ((1, 0.25),)
    with pytest.raises(BadRequest, match=r"no adapter has the id 9; 0 \(Style\), 1 \(facts\)"):
        adapters.give_scales({0: 1.0, 9: 1.0})
    assert adapters.wanted(None, "") == ((1, 0.25),), "a wrong request changes nothing"


def test_a_name_is_one_adapters_whatever_its_case():
    with pytest.raises(BadRequest, match="loaded already"):
        two().new("STYLE", "x.gguf")
    with pytest.raises(ModelNotFound, match="no adapter 'nobody'"):
        two().remove("nobody")


def test_there_is_a_most_of_them():
    many = AdapterList([Adapter(i, f"a{i}", "x") for i in range(MAX_ADAPTERS)])
    with pytest.raises(BadRequest, match=str(MAX_ADAPTERS)):
        many.new("one more", "x")


def test_where_there_is_none_a_request_for_one_is_told_that():
    with pytest.raises(BadRequest, match="no adapter has the id 7; none is loaded"):
        AdapterList().wanted({7: 1.0}, "")


@pytest.mark.parametrize("asked", [{7: 1.0}, {0: 1.0, 7: 0.0}])
def test_a_request_for_an_adapter_that_is_not_there_is_refused(asked):
    with pytest.raises(BadRequest, match="no adapter has the id 7"):
        two().wanted(asked, "")


def test_an_adapter_larger_than_what_is_free_is_refused_with_both_sizes():
    tensors = [Tensor("x.lora_a", (1024, 1)), Tensor("x.lora_b", (1, 1024))]
    header = parse_header(gguf_bytes({"general.type": "adapter"}, tensors))
    check_room(header, 8192)
    with pytest.raises(DoesNotFit, match=r"takes 8\.0 KiB, and 4\.0 KiB are free"):
        check_room(header, 4096)
