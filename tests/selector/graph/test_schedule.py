"""Who computes what. Backends 0 and 1 are accelerators, 2 is the CPU, unless a test differs."""

import pytest

from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.backends import CPU, rules_of
from edgellm.selector.graph.schedule import Machinery, Scheduled, schedule
from edgellm.selector.graph.tensors import Graph, Tensor

CUDA = rules_of("cuda")
N_TOKENS = 64


def machinery(**changes) -> Machinery:
    return Machinery((CUDA, CUDA, CPU), **changes)


def scheduled(*results: Tensor, machinery: Machinery) -> Scheduled:
    graph = Graph()
    graph.expand(*results)
    return schedule(graph, machinery)


def weight(home: int, n_in: int = 32, n_out: int = 32) -> Tensor:
    tensor = g.stored(home, n_in, n_out)
    tensor.is_weight = True
    return tensor


def tokens(n: int = N_TOKENS) -> Tensor:
    return g.new_input(32, n)


def copies(planned: Scheduled) -> list[tuple[int, int]]:
    """(backend, bytes) of everything that was copied to another backend."""
    return [(t.backend, t.n_bytes) for t in planned.nodes if t.op == "none" and t.root is None]


def test_work_follows_the_weights():
    first = g.mul_mat(weight(0), tokens())
    second = g.mul_mat(weight(1), first)
    planned = scheduled(second, machinery=machinery())
    assert (first.backend, second.backend) == (0, 1)
    row = 32 * N_TOKENS * 4
    assert copies(planned) == [(0, row), (1, row)]


def test_what_has_no_weights_follows_its_neighbours():
    first = g.mul_mat(weight(1), tokens())
    between = g.unary(first)
    last = g.mul_mat(weight(1), between)
    scheduled(last, machinery=machinery())
    assert between.backend == 1


def test_accelerators_spread_before_the_cpu():
    first = g.mul_mat(weight(2), tokens(8))
    between = g.unary(first)
    last = g.mul_mat(weight(0), between)
    scheduled(last, machinery=machinery())
    assert (first.backend, between.backend) == (2, 0)


def test_what_is_read_from_a_cache_lies_with_the_cache():
    cache = g.stored(1, 32, 256)
    seen = g.view(cache, 32, 128)
    scheduled(g.mul_mat(weight(1), seen), machinery=machinery())
    assert seen.backend == 1


def test_the_embedding_is_looked_up_by_the_host():
    rows = g.get_rows(weight(2, 32, 1000), g.new_input(N_TOKENS, kind=g.I32))
    scheduled(g.mul_mat(weight(0), rows), machinery=machinery())
    assert rows.backend == 2


@pytest.mark.parametrize(
    ("n_tokens", "op_offload", "backend"), [(32, True, 0), (31, True, 2), (512, False, 2)]
)
def test_a_prompt_takes_the_hosts_weights_to_the_first_device(
    n_tokens: int, op_offload: bool, backend: int
):
    product = g.mul_mat(weight(2), tokens(n_tokens))
    planned = scheduled(product, machinery=machinery(op_offload=op_offload))
    assert product.backend == backend
    copied = (0, 32 * 32 * 4) in copies(planned)
    assert copied == (backend == 0)


def test_metal_takes_products_only():
    shift = g.add(tokens(), weight(1, 32, 1))
    metal = Machinery((rules_of("metal"), CPU))
    scheduled(shift, machinery=metal)
    assert shift.backend == 1
    shift = g.add(tokens(), weight(1, 32, 1))
    scheduled(shift, machinery=Machinery((CUDA, CPU)))
    assert shift.backend == 0


def test_the_host_alone_offloads_nothing():
    product = g.mul_mat(weight(0), tokens())
    planned = scheduled(product, machinery=Machinery((CPU,)))
    assert (product.backend, copies(planned)) == (0, [])


def test_a_split_lets_go_of_the_weights_copied_for_the_last_one():
    first = g.mul_mat(weight(2), tokens())
    second = g.mul_mat(weight(2), first)
    planned = scheduled(second, machinery=machinery())
    order = [node for node in planned.nodes if node in (first, second) or node.root is None]
    at = [order.index(node) for node in (first, second)]
    assert at[1] - at[0] == 2  # the second weight's copy is made after the first product


def test_what_was_copied_once_is_read_there_again():
    x = g.mul_mat(weight(0), tokens())
    one, other = g.mul_mat(weight(1), x), g.mul_mat(weight(1), x)
    planned = scheduled(g.add(one, other), machinery=machinery())
    assert len([copy for copy in copies(planned) if copy[0] == 1]) == 1


def test_attention_without_a_kernel_is_the_cpus():
    q, k, v = g.new_input(64, N_TOKENS, 4), g.stored(0, 64, 256, 4), g.stored(0, 64, 256, 4)
    mask = g.new_input(256, N_TOKENS)
    for on_cpu, backend in ((True, 2), (False, 0)):
        x = g.flash_attention(q, k, v, mask)
        flat = g.reshape(x, 256, N_TOKENS)
        scheduled(g.mul_mat(weight(0, 256), flat), machinery=machinery(attends_on_cpu=on_cpu))
        assert x.backend == backend


def test_a_pipeline_keeps_inputs_and_copies_four_times():
    for pipeline, n in ((False, 1), (True, 4)):
        x = tokens()
        planned = scheduled(
            g.mul_mat(weight(1), g.mul_mat(weight(0), x)), machinery=machinery(pipeline=pipeline)
        )
        inputs = [t for t in planned.leafs if t.ne == x.ne and t.backend == 2]
        assert len(inputs) == n + (n > 1)  # x itself is listed twice
        assert x.flag_output == pipeline


def test_a_backend_that_llama_cpp_asked_for_stays():
    normed = g.like("rms_norm", tokens())
    normed.backend = 1
    scheduled(g.mul_mat(weight(0), normed), machinery=machinery())
    assert normed.backend == 1
