"""Feed-forward blocks, dense and of experts.

Source: src/llama-graph.cpp build_ffn, build_moe_ffn.
"""

from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.build import Build, Place
from edgellm.selector.graph.tensors import Tensor
from edgellm.values import frozen

SOFTMAX, SIGMOID, SOFTMAX_WEIGHT = 1, 2, 3  # enum llama_expert_gating_func_type


@frozen
class Routing:
    """How tokens find their experts."""

    gating: int = SOFTMAX
    normed: bool = True  # the weights of those chosen sum up to one
    by_file: bool = False  # both may be said by the file
    weighs_inputs: bool = False  # llama4: weights go on what enters an expert


PLAIN_ROUTING = Routing()


def dense(build: Build, place: Place, x: Tensor, suffix: str = "") -> Tensor:
    """With a gate its product with `up`; a doubled `up` is its own gate; else an activation."""
    up = build.linear(place, f"ffn_up{suffix}", x)
    down = build.need(place, f"ffn_down{suffix}.weight")
    if build.has(place, f"ffn_gate{suffix}.weight"):
        hidden = g.glu(build.linear(place, f"ffn_gate{suffix}", x), up)
    elif up.ne[0] == 2 * down.ne[0]:
        hidden = g.glu(up)
    else:
        hidden = g.unary(up)
    return build.linear(place, f"ffn_down{suffix}", hidden)


def mixture(build: Build, place: Place, x: Tensor, routing: Routing) -> Tensor:
    """Routed experts, and one that all tokens go to, where there is one."""
    routed = experts(build, place, x, routing)
    if not build.has(place, "ffn_up_shexp.weight"):
        return routed
    shared = dense(build, place, x, "_shexp")
    if build.has(place, "ffn_gate_inp_shexp.weight"):
        shared = g.mul(shared, g.unary(build.linear(place, "ffn_gate_inp_shexp", x)))
    return g.add(routed, shared)


def experts(
    build: Build, place: Place, x: Tensor, routing: Routing, chosen_by: Tensor | None = None
) -> Tensor:
    selected, weights = _routed(build, place, x if chosen_by is None else chosen_by, routing)
    build.graph.expand(weights)
    n_used, n_tokens = selected.ne[:2]
    x = g.reshape(x, x.ne[0], 1, n_tokens)
    if routing.weighs_inputs:
        x = g.mul(g.repeat(x, x.ne[0], n_used, n_tokens), weights)
    hidden = _hidden(build, place, x, selected)
    result = _each(build, place, "ffn_down_exps", hidden, selected)
    if not routing.weighs_inputs:
        result = g.mul(result, weights)
    build.graph.expand(result)
    return _summed(build, result)


def _routed(build: Build, place: Place, x: Tensor, routing: Routing) -> tuple[Tensor, Tensor]:
    """Which experts each token goes to, and with which weights."""
    gating, normed = routing.gating, routing.normed
    if routing.by_file:
        gating = build.facts.expert_gating or gating
        normed = build.facts.expert_weights_norm
    logits = build.linear(place, "ffn_gate_inp", x)
    n_expert, n_tokens = logits.ne[:2]
    n_used = build.outline.n_expert_used
    if not 0 < n_used <= n_expert:
        raise ValueError(f"{n_used} of {n_expert} experts")
    probs = logits
    if gating == SOFTMAX:
        probs = g.like("soft_max", logits)
    elif gating == SIGMOID:
        probs = g.unary(logits)
    choice = logits if routing.weighs_inputs else probs
    if (bias := build.weight(place, "exp_probs_b.bias")) is not None:
        choice = g.add(choice, bias)
    if build.facts.n_expert_groups > 1:
        choice = _best_groups(build, choice)
    selected = g.top_k(choice, n_used)
    weights = g.get_rows(g.reshape(probs, 1, n_expert, n_tokens), selected)
    if gating == SOFTMAX_WEIGHT:
        flat = g.like("soft_max", g.reshape(weights, n_used, n_tokens))
        weights = g.reshape(flat, 1, n_used, n_tokens)
    if normed:
        flat = g.reshape(weights, n_used, n_tokens)
        total = g.like("clamp", g.sum_rows(flat))
        weights = g.reshape(g.like("div", flat, total), 1, n_used, n_tokens)
    if build.facts.expert_weights_scaled:
        weights = g.scale(weights)
    return selected, weights


def _best_groups(build: Build, choice: Tensor) -> Tensor:
    """DeepSeek-V3 chooses groups of experts first, by their two best."""
    facts = build.facts
    n_expert, n_tokens = choice.ne[:2]
    n_groups, in_group = facts.n_expert_groups, n_expert // facts.n_expert_groups
    groups = g.reshape(choice, in_group, n_groups, n_tokens)
    best_two = g.top_k(groups, 2)
    score = g.get_rows(g.reshape(groups, 1, in_group, n_groups, n_tokens), best_two)
    score = g.sum_rows(g.reshape(score, 2, n_groups, n_tokens))
    chosen = g.top_k(g.reshape(score, n_groups, n_tokens), facts.n_expert_groups_used)
    kept = g.get_rows(groups, chosen)
    masked = g.set_rows(g.like("fill", groups), kept, chosen)
    return g.reshape(masked, n_expert, n_tokens)


def _hidden(build: Build, place: Place, x: Tensor, selected: Tensor) -> Tensor:
    if build.has(place, "ffn_gate_up_exps.weight"):
        both = _each(build, place, "ffn_gate_up_exps", x, selected)
        half = (both.ne[0] // 2, *both.ne[1:])
        return g.glu(g.view(both, *half), g.view(both, *half))
    up = _each(build, place, "ffn_up_exps", x, selected)
    if not build.has(place, "ffn_gate_exps.weight"):
        return g.unary(up)
    return g.glu(_each(build, place, "ffn_gate_exps", x, selected), up)


def _each(build: Build, place: Place, name: str, x: Tensor, selected: Tensor) -> Tensor:
    """Source: build_lora_mm_id."""
    result = g.mul_mat_id(build.need(place, f"{name}.weight"), x, selected)
    for first, second in build.adapters(place, name):
        narrow = g.mul_mat_id(first, x, selected)
        result = g.add(result, g.scale(g.mul_mat_id(second, narrow, selected)))
    if (bias := build.weight(place, f"{name}.bias")) is not None:
        result = g.like("add_id", result, bias, selected)
    return result


def _summed(build: Build, result: Tensor) -> Tensor:
    n_embd, n_used, n_tokens = result.ne[:3]
    views = [g.view(result, n_embd, n_tokens) for _ in range(n_used)]
    build.graph.expand(*views)
    total = views[0]
    for other in views[1:]:
        total = g.add(total, other)
        build.graph.expand(total)
    return g.cont(total) if n_used == 1 else total
