"""Shapes and bytes as ggml gives them."""

import pytest

from edgellm.models.quants import BY_NAME
from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.tensors import F16, I32, Graph

Q8_0 = BY_NAME["q8_0"]


def test_bytes_follow_the_type():
    assert g.new_input(64, 3).n_bytes == 64 * 3 * 4
    assert g.new_input(64, 3, kind=F16).n_bytes == 64 * 3 * 2
    assert g.stored(0, 64, 3, kind=Q8_0).n_bytes == 2 * 3 * 34


def test_a_product_has_the_rows_of_its_weight():
    x = g.new_input(16, 5)
    assert g.mul_mat(g.stored(0, 16, 40), x).ne == (40, 5, 1, 1)
    chosen = g.new_input(2, 5, kind=I32)
    three = g.reshape(x, 16, 1, 5)
    assert g.mul_mat_id(g.stored(0, 16, 40, 8), three, chosen).ne == (40, 2, 5, 1)


def test_rows_come_out_of_a_table_unpacked():
    table = g.stored(0, 64, 100, kind=Q8_0)
    rows = g.get_rows(table, g.new_input(7, kind=I32))
    assert (rows.ne, rows.n_bytes) == ((64, 7, 1, 1), 64 * 7 * 4)


def test_a_gate_is_a_tensor_or_half_of_one():
    both = g.new_input(80, 5)
    assert g.glu(both).ne == (40, 5, 1, 1)
    assert g.glu(g.new_input(40, 5), g.new_input(40, 5)).ne == (40, 5, 1, 1)


def test_attention_turns_heads_and_tokens_round():
    q, k, v = (g.new_input(dim, n, 8) for dim, n in ((64, 5), (64, 256), (48, 256)))
    assert g.flash_attention(q, k, v, g.new_input(256, 5)).ne == (48, 8, 5, 1)


def test_a_view_names_whose_memory_it_lies_in():
    x = g.new_input(16, 5)
    seen = g.permute(g.reshape(g.view(x, 8, 5), 4, 2, 5))
    assert seen.root is x
    assert seen.ne == (4, 5, 2, 1)


@pytest.mark.parametrize(("dims", "n_floats"), [((16, 5), 80), ((8, 5), 72), ((16, 1), 16)])
def test_a_slice_of_each_row_spans_the_rows_between(dims: tuple[int, int], n_floats: int):
    assert g.view(g.new_input(16, 5), *dims).n_bytes == n_floats * 4


def test_a_dense_slice_is_as_long_as_it_is():
    assert g.view(g.new_input(16, 5), 8, 5, dense=True).n_bytes == 8 * 5 * 4


def test_what_is_stored_into_a_cache_is_the_cache():
    cache = g.stored(1, 64, 256, kind=F16)
    stored = g.set_rows(cache, g.new_input(64, 5), g.new_input(5, kind=I32))
    assert stored.root is cache
    assert stored.ne == cache.ne


def test_joined_and_sorted():
    a, b = g.new_input(4, 5), g.new_input(6, 5)
    assert g.concat(a, b, 0).ne == (10, 5, 1, 1)
    best = g.top_k(g.new_input(128, 5), 8)
    assert (best.ne, best.type) == ((8, 5, 1, 1), I32)
    assert best.root is not None
    assert best.root.ne == (128, 5, 1, 1)  # all are sorted


def test_a_graph_has_parents_first_and_each_once():
    x = g.new_input(16, 5)
    a = g.unary(x)
    b = g.scale(a)
    last = g.add(b, a)
    graph = Graph()
    graph.expand(last)
    graph.expand(b, last)
    assert graph.nodes == [a, b, last]
    assert graph.leafs == [x]
