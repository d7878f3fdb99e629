"""What layers with a state share: it is read, a convolution or a scan goes over the batch, and the
last state is written back; with rollback points (n_rs_seq) so are the ones before it.

Source: src/llama-graph.cpp build_rs, src/llama-memory-recurrent.cpp.
"""

from math import prod

from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.build import Build, Place
from edgellm.selector.graph.tensors import F32, Tensor


def table(build: Build, place: Place, width: int) -> Tensor:
    """Where the states of all sequences lie, a row for each of them and each rollback point."""
    return g.stored(place.home, width, build.n_seqs * (1 + build.shape.n_rs_seq), kind=F32)


def recall(build: Build, states: Tensor) -> Tensor:
    """One row for each sequence."""
    rows = g.get_rows(states, build.state_ids)
    _read(build, states, rows)
    return rows


def _read(build: Build, states: Tensor, result: Tensor) -> None:
    """A new sequence's state is cleared, and states that nobody asks for are moved aside."""
    build.graph.expand(g.scale_inplace(g.view(states, states.ne[0])), result)
    rest = g.get_rows(states, build.no_state_ids)
    build.graph.expand(g.copy(rest, g.view(states, states.ne[0], 0)))


def remember(build: Build, state: Tensor, into: Tensor) -> None:
    build.graph.expand(g.copy(state, g.view(into, *state.ne)))


def n_points(build: Build) -> int:
    """States that a batch leaves behind for each sequence."""
    return min(build.n_seq_tokens, 1 + build.shape.n_rs_seq)


def with_past(build: Build, x: Tensor, states: Tensor, n_kept: int) -> Tensor:
    """[tokens, channels] with the `n_kept` tokens before the batch in front, which go on being
    kept. Source: src/models/delta-net-base.cpp build_conv_state."""
    past = g.reshape(recall(build, states), n_kept, x.ne[0], build.n_seqs)
    padded = g.concat(past, g.transpose(x), 0)
    for _ in range(n_points(build)):
        remember(build, g.view(padded, n_kept, padded.ne[1], padded.ne[2]), states)
    return padded


def convolve(padded: Tensor, kernel: Tensor) -> Tensor:
    """Source: ggml_ssm_conv."""
    n_tokens = padded.ne[0] - kernel.ne[0] + 1
    ne = g.extents(kernel.ne[1], n_tokens, padded.ne[2])
    return Tensor("ssm_conv", ne, F32, (padded, kernel))


def scan(build: Build, place: Place, x: Tensor, others: tuple[Tensor, ...], n_state: int) -> Tensor:
    """Outputs and new states in one; the states are read where they lie. Source: ggml_ssm_scan."""
    width = n_state * x.ne[0] * x.ne[1]
    states = table(build, place, width)
    before = g.reshape(states, n_state, x.ne[0], x.ne[1], states.ne[1])
    n_kept = width * build.n_seqs * (1 + build.shape.n_rs_seq)
    operands = (before, x, *others, build.state_ids)
    result = Tensor("ssm_scan", g.extents(prod(x.ne) + n_kept), F32, operands)
    _read(build, states, result)
    remember(build, g.view(result, width, build.n_seqs, n_points(build)), states)
    return result


def short_convolution(build: Build, place: Place, x: Tensor) -> Tensor:
    """LFM2's. Source: src/models/lfm2.cpp build_shortconv_block."""
    n_embd, n_tokens, n_seqs = build.outline.n_embd, build.n_seq_tokens, build.n_seqs
    n_kept = build.facts.n_conv - 1
    mixed = build.linear(place, "shortconv.in_proj", g.reshape(x, n_embd, n_tokens, n_seqs))
    b, c, x = (g.view(mixed, n_embd, n_tokens, n_seqs) for _ in range(3))
    padded = with_past(build, g.mul(b, x), table(build, place, n_kept * n_embd), n_kept)
    y = g.mul(c, convolve(padded, build.need(place, "shortconv.conv.weight")))
    return g.reshape(build.linear(place, "shortconv.out_proj", y), n_embd, build.n_tokens)
