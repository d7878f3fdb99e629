"""RWKV-6 blocks. Source: src/models/rwkv6-base.cpp, rwkv6.cpp."""

from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.build import Build, Place
from edgellm.selector.graph.states import recall, remember, table
from edgellm.selector.graph.tensors import F32, Tensor

_LERPS = 5  # w, k, v, r and g: how much each mixes a token with the one before


def block(build: Build, place: Place, x: Tensor) -> Tensor:
    n_embd, n_tokens, n_seqs = build.outline.n_embd, build.n_seq_tokens, build.n_seqs
    x = g.reshape(x, n_embd, n_tokens, n_seqs)
    shifts = table(build, place, n_embd * build.facts.n_token_shift)
    shift = g.reshape(recall(build, shifts), n_embd, build.facts.n_token_shift, n_seqs)
    of_time, of_channel = (g.view(shift, n_embd, 1, n_seqs) for _ in range(2))
    normed = build.norm(place, "attn_norm", x, "norm")
    mixed = time_mix(build, place, normed, _before(build, of_time, normed))
    middle = g.add(mixed, x)
    normed_2 = build.norm(place, "attn_norm_2", middle, "norm")
    before = _before(build, of_channel, normed_2)
    last, last_2 = (g.view(tensor, n_embd, 1, n_seqs) for tensor in (normed, normed_2))
    kept = g.concat(last, last_2, 1)
    remember(build, g.view(kept, shifts.ne[0] * n_seqs), shifts)
    flat = (g.reshape(t, n_embd, build.n_tokens) for t in (middle, normed_2, before))
    middle, normed_2, before = build.only_outputs(place, *flat)
    return g.add(channel_mix(build, place, normed_2, before), middle)


def _before(build: Build, shift: Tensor, x: Tensor) -> Tensor:
    """Each token's predecessor."""
    return g.concat(shift, g.view(x, x.ne[0], build.n_seq_tokens - 1, build.n_seqs), 1)


def channel_mix(build: Build, place: Place, x: Tensor, before: Tensor) -> Tensor:
    delta = g.like("sub", before, x)
    k, r = (
        g.add(g.mul(delta, build.need(place, f"channel_mix_lerp_{part}.weight")), x)
        for part in "kr"
    )
    r = g.unary(build.linear(place, "channel_mix_receptance", r))
    k = g.like("sqr", g.unary(build.linear(place, "channel_mix_key", k)))
    return g.mul(r, build.linear(place, "channel_mix_value", k))


def time_mix(build: Build, place: Place, x: Tensor, before: Tensor) -> Tensor:
    n_embd, n_tokens, n_seqs = build.outline.n_embd, build.n_tokens, build.n_seqs
    dim = build.facts.wkv_head_dim
    heads = n_embd // dim
    delta = g.reshape(g.like("sub", before, x), n_embd, n_tokens)
    x = g.reshape(x, n_embd, n_tokens)
    xw, xk, xv, xr, xg = _mixtures(build, place, x, delta)
    r, k, v = (
        build.linear(place, f"time_mix_{name}", t)
        for name, t in (("receptance", xr), ("key", xk), ("value", xv))
    )
    gate = g.unary(build.linear(place, "time_mix_gate", xg))
    k, v, r = (g.reshape(t, dim, heads, n_tokens) for t in (k, v, r))
    w = g.mul_mat(build.need(place, "time_mix_decay_w1.weight"), xw)
    w = g.mul_mat(build.need(place, "time_mix_decay_w2.weight"), g.unary(w))
    w = g.add(w, build.need(place, "time_mix_decay.weight"))
    w = g.reshape(g.unary(g.unary(g.unary(w))), dim, heads, n_tokens)
    states = table(build, place, n_embd * dim)
    state = recall(build, states)
    first = build.need(place, "time_mix_first.weight")
    ne = g.extents(n_embd, n_tokens + dim * n_seqs)
    result = Tensor("rwkv_wkv6", ne, F32, (k, v, r, first, w, state))
    remember(build, g.view(result, n_embd * dim * n_seqs), states)
    y = g.reshape(g.view(result, n_embd * n_tokens, dense=True), dim, heads, n_tokens)
    y = g.reshape(g.like("norm", y), n_embd, n_tokens)
    y = g.mul(y, build.need(place, "time_mix_ln.weight"))
    y = g.mul(g.add(y, build.need(place, "time_mix_ln.bias")), gate)
    y = build.linear(place, "time_mix_output", y)
    return g.reshape(y, n_embd, build.n_seq_tokens, n_seqs)


def _mixtures(build: Build, place: Place, x: Tensor, delta: Tensor) -> list[Tensor]:
    """Five mixtures of each token with the one before, by learnt and by computed shares."""
    n_embd, n_tokens = x.ne[:2]
    w1 = build.need(place, "time_mix_w1.weight")
    w2 = build.need(place, "time_mix_w2.weight")
    mixed = g.add(g.mul(delta, build.need(place, "time_mix_lerp_x.weight")), x)
    mixed = g.unary(g.mul_mat(w1, mixed))
    mixed = g.reshape(mixed, w1.ne[1] // _LERPS, 1, _LERPS, n_tokens)
    mixed = g.cont(g.permute(mixed, (0, 1, 3, 2)))
    mixed = g.mul_mat(g.reshape(w2, w2.ne[0], w2.ne[1], 1, _LERPS), mixed)
    fused = build.weight(place, "time_mix_lerp_fused.weight")
    if fused is not None:
        delta, x = (g.reshape(t, n_embd, 1, n_tokens) for t in (delta, x))
        mixed = g.add(g.mul(g.add(mixed, fused), delta), x)
        return [g.view(mixed, n_embd, n_tokens) for _ in range(_LERPS)]
    return [
        g.add(
            g.mul(
                g.add(g.view(mixed, n_embd, n_tokens),
                      build.need(place, f"time_mix_lerp_{part}.weight")),
                delta,
            ),
            x,
        )
        for part in "wkvrg"
    ]  # fmt: skip
