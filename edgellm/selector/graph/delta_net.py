"""Gated delta nets: Qwen3-Next, Qwen3.5 and 3.6, where three layers in four keep a state.

Source: src/models/delta-net-base.cpp, qwen35.cpp, qwen3next.cpp.
"""

from edgellm.selector.graph import feed_forward
from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.attention import cached, output
from edgellm.selector.graph.build import Build, Place
from edgellm.selector.graph.feed_forward import PLAIN_ROUTING
from edgellm.selector.graph.states import convolve, n_points, recall, remember, table, with_past
from edgellm.selector.graph.tensors import F32, Tensor


def block(build: Build, place: Place, x: Tensor) -> Tensor:
    normed = build.norm(place, "attn_norm", x)
    build.graph.expand(normed)
    if place.layer.kv_kind == "recurrent":
        mixed = linear_attention(build, place, normed)
    else:
        mixed = gated_attention(build, place, normed)
    middle = g.add(mixed, x)
    normed = build.norm(place, "post_attention_norm", middle)
    if not build.has(place, "ffn_gate_inp.weight"):
        return g.add(feed_forward.dense(build, place, normed), middle)
    return g.add(feed_forward.mixture(build, place, normed, PLAIN_ROUTING), middle)


def gated_attention(build: Build, place: Place, x: Tensor) -> Tensor:
    """One matrix gives queries and, beside each, a gate for what the head answers."""
    layer, n_tokens = place.layer, build.n_tokens
    dim, n_kv = layer.head_dim_k, layer.n_head_kv
    both = build.linear(place, "attn_q", x)
    n_head = both.ne[0] // (2 * dim)
    k, v = build.linear(place, "attn_k", x), build.linear(place, "attn_v", x)
    q = build.norm(place, "attn_q_norm", g.view(both, dim, n_head, n_tokens))
    k = build.norm(place, "attn_k_norm", g.reshape(k, dim, n_kv, n_tokens))
    gate = g.cont(g.view(both, dim, n_head, n_tokens), dim * n_head, n_tokens)
    q, k = build.rope(q, place.home), build.rope(k, place.home)
    attended = cached(build, place, q, k, g.reshape(v, dim, n_kv, n_tokens))
    return output(build, place, g.mul(attended, g.unary(gate)))


def linear_attention(build: Build, place: Place, x: Tensor) -> Tensor:
    facts, n_tokens, n_seqs = build.facts, build.n_seq_tokens, build.n_seqs
    heads_k, heads_v, dim_k = facts.ssm_groups, facts.ssm_heads, facts.ssm_state
    dim_v, channels = facts.ssm_inner // heads_v, facts.ssm_inner + 2 * heads_k * dim_k
    mixed = build.linear(place, "attn_qkv", x)
    mixed = g.reshape(mixed, mixed.ne[0], n_tokens, n_seqs)
    z = build.linear(place, "attn_gate", x)
    beta, gate = _gates(build, place, x)
    n_kept = facts.ssm_conv - 1
    padded = with_past(build, mixed, table(build, place, n_kept * channels), n_kept)
    states = table(build, place, dim_v * facts.ssm_inner)
    state = g.reshape(recall(build, states), dim_v, dim_v, heads_v, n_seqs)
    mixed = g.unary(convolve(padded, build.need(place, "ssm_conv1d.weight")))
    q, k = (_unit(g.view(mixed, dim_k, heads_k, n_tokens, n_seqs)) for _ in range(2))
    v = g.view(mixed, dim_v, heads_v, n_tokens, n_seqs)
    if heads_k != heads_v and build.outline.architecture == "qwen3next":
        q, k = (_repeated(t, heads_v // heads_k) for t in (q, k))
    answered = _delta(build, (q, k, v, gate, beta, state), states)
    z = g.reshape(z, dim_v, heads_v, n_tokens, n_seqs)
    answered = g.mul(build.norm(place, "ssm_norm", answered), g.unary(z))
    flat = g.reshape(answered, facts.ssm_inner, n_tokens, n_seqs)
    return g.reshape(build.linear(place, "ssm_out", flat), build.outline.n_embd, build.n_tokens)


def _gates(build: Build, place: Place, x: Tensor) -> tuple[Tensor, Tensor]:
    """How much is learnt, and how much kept: one number a head."""
    heads, n_tokens, n_seqs = build.facts.ssm_heads, build.n_seq_tokens, build.n_seqs
    each = (1, heads, n_tokens, n_seqs)
    if build.has(place, "ssm_ba.weight"):  # Qwen3-Next: both in one matrix
        groups = build.facts.ssm_groups
        both = build.linear(place, "ssm_ba", x)
        both = g.reshape(both, 2 * heads // groups, groups, n_tokens, n_seqs)
        b, a = (g.view(both, heads // groups, groups, n_tokens, n_seqs) for _ in range(2))
        beta, alpha = g.unary(g.cont(b)), g.cont(a, heads, n_tokens, n_seqs)
    else:
        beta = g.unary(g.reshape(build.linear(place, "ssm_beta", x), *each))
        alpha = g.reshape(build.linear(place, "ssm_alpha", x), heads, n_tokens, n_seqs)
    alpha = g.unary(g.add(alpha, build.need(place, "ssm_dt.bias")))
    gate = g.mul(alpha, build.need(place, "ssm_a"))
    return g.reshape(beta, *each), g.reshape(gate, *each)


def _unit(x: Tensor) -> Tensor:
    return g.scale(g.like("rms_norm", x))


def _repeated(x: Tensor, times: int) -> Tensor:
    """Keys for each head of values; only where the fused kernel can't do without."""
    dim, heads, n_tokens, n_seqs = x.ne
    wide = g.repeat(g.reshape(x, dim, 1, heads, n_tokens * n_seqs),
                    dim, times, heads, n_tokens * n_seqs)  # fmt: skip
    return g.reshape(wide, dim, times * heads, n_tokens, n_seqs)


def _delta(build: Build, operands: tuple[Tensor, ...], states: Tensor) -> Tensor:
    """The fused kernel: answers, and after them the new states. Source: ggml_gated_delta_net."""
    dim, heads, n_tokens, n_seqs = operands[2].ne
    rows = n_tokens * n_seqs + dim * n_seqs * (1 + build.shape.n_rs_seq)
    result = Tensor("gated_delta_net", g.extents(dim * heads, rows), F32, operands)
    remember(build, g.view(result, dim * dim * heads, n_seqs, n_points(build)), states)
    return g.view(result, dim, heads, n_tokens, n_seqs)
