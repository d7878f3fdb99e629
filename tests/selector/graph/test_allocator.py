"""ggml's graph allocator on graphs that one can follow by hand. A row is 256 floats, 1 KiB."""

import pytest

from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.allocator import Arena, allocate
from edgellm.selector.graph.backends import BackendRules
from edgellm.selector.graph.tensors import Graph, Tensor

KIB, ROW = 1024, 256
CPU = BackendRules(alignment=32)


def peak(*results: Tensor, rules: BackendRules = CPU) -> int:
    """KiB of one backend that computes all."""
    graph = Graph()
    graph.expand(*results)
    for tensor in (*graph.leafs, *graph.nodes):
        tensor.backend = 0
    arena = Arena(rules)
    allocate(graph.nodes, graph.leafs, [arena])
    return arena.peak_bytes // KIB


def given(n_rows: int = 1) -> Tensor:
    return g.new_input(ROW, n_rows)


def fresh(x: Tensor, n_rows: int = 1) -> Tensor:
    """Needs memory of its own, whatever it is computed from."""
    return Tensor("conv", g.extents(ROW, n_rows), src=(x,))


def test_a_result_and_what_it_is_computed_from_are_there_at_once():
    assert peak(fresh(given())) == 2


def test_what_was_used_gives_its_place_to_the_next():
    x = given()
    for _ in range(5):
        x = fresh(x)
    assert peak(x) == 2


def test_what_is_read_later_keeps_its_place():
    skip = fresh(given())
    x = skip
    for _ in range(5):
        x = fresh(x)
    assert peak(Tensor("conv", g.extents(ROW), src=(x, skip))) == 3


@pytest.mark.parametrize("op", ["add", "mul", "scale", "rms_norm", "rope", "soft_max"])
def test_an_operation_may_write_over_its_operand(op: str):
    assert peak(g.like(op, given())) == 1


def test_but_not_over_one_that_is_read_again():
    x = given()
    once = g.scale(x)
    assert peak(Tensor("conv", g.extents(ROW), src=(once, x))) == 3


def test_nor_over_one_of_another_shape():
    x = given(4)
    assert peak(Tensor("scale", g.extents(ROW), src=(x,))) == 5


def test_nor_over_one_that_somebody_sees_a_part_of():
    x = fresh(given())
    part = g.view(x, ROW // 2)
    scaled = g.scale(x)
    assert peak(Tensor("conv", g.extents(ROW), src=(scaled, part))) == 3


def test_nor_over_an_output():
    x = fresh(given())
    x.flag_output = True
    assert peak(g.scale(x)) == 2  # the input's place was free again


def test_an_output_is_never_given_back():
    x = given()
    kept = fresh(x)
    kept.flag_output = True
    y = kept
    for _ in range(3):
        y = fresh(y)
    assert peak(y) == 3


def test_a_view_costs_nothing_and_holds_what_it_sees():
    x = fresh(given(8), 8)
    part = g.view(x, ROW, 1)
    y = fresh(fresh(part))
    assert peak(y) == 16  # y's row lies where the input was


def test_weights_and_caches_are_elsewhere():
    weight = g.stored(0, ROW, ROW)
    assert peak(g.mul_mat(weight, given())) == 2


def test_inputs_have_their_place_before_anything_is_computed():
    late = given(16)
    x = given()
    for _ in range(3):
        x = fresh(x)
    assert peak(Tensor("conv", g.extents(ROW), src=(x, late))) == 18


def test_the_tightest_hole_is_taken():
    arena = Arena(CPU)
    blocks = [arena.take(size) for size in (4096, 32, 1024, 32)]
    arena.give_back(blocks[0], 4096)
    arena.give_back(blocks[2], 1024)
    assert arena.take(1000) == blocks[2]
    assert arena.take(4096) == blocks[0]


def test_holes_side_by_side_are_one():
    arena = Arena(CPU)
    blocks = [arena.take(1024) for _ in range(4)]
    for i in (0, 2, 1):
        arena.give_back(blocks[i], 1024)
    assert arena.take(3072) == blocks[0]
    assert arena.peak_bytes == 4096


def test_sizes_are_aligned():
    odd = Tensor("conv", g.extents(3), src=())
    assert Arena(BackendRules(alignment=32)).size_of(odd) == 32
    assert Arena(BackendRules(alignment=128)).size_of(odd) == 128


def test_a_buffer_of_limited_chunks_wastes_the_rest_of_each():
    whole, chunked = Arena(CPU), Arena(BackendRules(max_chunk_bytes=1000))
    for arena in (whole, chunked):
        for _ in range(4):
            arena.take(600)
    assert whole.peak_bytes == 2400
    assert chunked.peak_bytes == 2400
    assert chunked.take(2000)[0] == 4  # larger than a chunk: one of its own
    assert chunked.take(400) == (0, 600)  # what was left of the first
    assert chunked.peak_bytes == 4800


def test_each_backend_has_a_buffer_of_its_own():
    x = given()
    here = fresh(x)
    there = Tensor("conv", g.extents(ROW), src=(here, x))
    for tensor, backend in ((x, 1), (here, 0), (there, 1)):
        tensor.backend = backend
    arenas = [Arena(CPU), Arena(CPU)]
    allocate([here, there], [x], arenas)
    assert [arena.peak_bytes for arena in arenas] == [KIB, 2 * KIB]
