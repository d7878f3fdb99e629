"""State-space layers. Source: src/models/mamba-base.cpp."""

from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.build import Build, Place
from edgellm.selector.graph.states import convolve, recall, remember, scan, table
from edgellm.selector.graph.tensors import Tensor


def mamba(build: Build, place: Place, x: Tensor) -> Tensor:
    facts, n_tokens, n_seqs = build.facts, build.n_seq_tokens, build.n_seqs
    inner, n_kept = facts.ssm_inner, facts.ssm_conv - 1
    states = table(build, place, n_kept * inner)
    past = g.reshape(recall(build, states), n_kept, inner, n_seqs)
    both = build.linear(place, "ssm_in", g.reshape(x, x.ne[0], n_tokens, n_seqs))
    x, z = (g.view(both, inner, n_tokens, n_seqs) for _ in range(2))
    padded = g.concat(past, g.transpose(x), 0)
    remember(build, g.view(padded, n_kept, inner, n_seqs), states)
    x = _activated(build, place, padded)
    y = g.view(_scanned(build, place, x), inner, n_tokens, n_seqs)
    y = g.add(y, g.mul(x, build.need(place, "ssm_d")))
    y = g.glu(g.cont(z), y)
    return g.reshape(build.linear(place, "ssm_out", y), build.outline.n_embd, build.n_tokens)


def mamba2(build: Build, place: Place, x: Tensor) -> Tensor:
    facts, n_tokens, n_seqs = build.facts, build.n_seq_tokens, build.n_seqs
    inner, state, groups = facts.ssm_inner, facts.ssm_state, facts.ssm_groups
    heads, mixed_width = facts.ssm_heads, inner + 2 * groups * state
    n_kept = facts.ssm_conv - 1
    states = table(build, place, n_kept * mixed_width)
    past = g.reshape(recall(build, states), n_kept, mixed_width, n_seqs)
    all_in = build.linear(place, "ssm_in", x)
    all_in = g.reshape(all_in, all_in.ne[0], n_tokens, n_seqs)
    z = g.view(all_in, inner // heads, heads, n_tokens, n_seqs)
    mixed = g.view(all_in, mixed_width, n_tokens, n_seqs)
    dt = g.view(all_in, heads, n_tokens, n_seqs)
    padded = g.concat(past, g.transpose(mixed), 0)
    for _ in range(min(n_tokens, 1 + build.shape.n_rs_seq)):
        remember(build, g.view(padded, n_kept, mixed_width, n_seqs), states)
    mixed = _activated(build, place, padded)
    x = g.view(mixed, inner // heads, heads, n_tokens, n_seqs)
    b, c = (g.view(mixed, state, groups, n_tokens, n_seqs) for _ in range(2))
    dt = g.add(g.cont(dt), build.need(place, "ssm_dt.bias"))
    scanned = scan(build, place, x, (dt, build.need(place, "ssm_a"), b, c), state)
    y = g.view(scanned, inner // heads, heads, n_tokens, n_seqs)
    y = g.add(y, g.mul(x, build.need(place, "ssm_d")))
    y = g.glu(g.cont(z), y)
    if build.has(place, "ssm_norm.weight"):
        y = build.norm(place, "ssm_norm", g.reshape(y, inner // groups, groups, n_tokens, n_seqs))
    return build.linear(place, "ssm_out", g.reshape(y, inner, build.n_tokens))


def _activated(build: Build, place: Place, padded: Tensor) -> Tensor:
    x = convolve(padded, build.need(place, "ssm_conv1d.weight"))
    return g.unary(g.add(x, build.need(place, "ssm_conv1d.bias")))


def _scanned(build: Build, place: Place, x: Tensor) -> Tensor:
    inner, n_tokens, n_seqs = x.ne[:3]
    rank, state = build.facts.ssm_heads, build.facts.ssm_state
    mixed = build.linear(place, "ssm_x", x)
    dt = g.view(mixed, rank, n_tokens, n_seqs)
    b, c = (g.view(mixed, state, 1, n_tokens, n_seqs) for _ in range(2))
    if not build.has(place, "ssm_dt_norm.weight"):
        dt = g.cont(dt)
    else:
        dt = build.norm(place, "ssm_dt_norm", dt)
        b, c = build.norm(place, "ssm_b_norm", b), build.norm(place, "ssm_c_norm", c)
    dt = build.linear(place, "ssm_dt", dt)
    heads = g.reshape(x, 1, inner, n_tokens, n_seqs)
    return scan(build, place, heads, (dt, build.need(place, "ssm_a"), b, c), state)
