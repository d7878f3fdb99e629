"""Tiny models that keep a state beside their cells, and can take tokens back: real to llama.cpp,
untrained.

Every layer adds about as much as the embedding has, and states fade over some ten tokens: what a
model says next follows from many tokens, so that a state which is another's, or a token behind,
shows in the text.
"""

import numpy as np
from gguf_files import Tensor, gguf_bytes
from tiny_vocabulary import N_VOCAB, metadata

_D, _HEADS, _KV_HEADS, _HEAD_DIM, _FF, _EXPERT_FF = 64, 4, 2, 16, 96, 32
_CONV, _STATE, _GROUPS, _STATE_HEADS = 4, 16, 2, 4
_INNER = _STATE * _STATE_HEADS
_SHARED = {
    "context_length": 2048,
    "embedding_length": _D,
    "attention.head_count": _HEADS,
    "attention.key_length": _HEAD_DIM,
    "attention.value_length": _HEAD_DIM,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "ssm.conv_kernel": _CONV,
    "ssm.inner_size": _INNER,
    "ssm.state_size": _STATE,
    "ssm.time_step_rank": _STATE_HEADS,
    "ssm.group_count": _GROUPS,
}


def qwen35_bytes(context=1.0, *, n_layers=4, full_every=4, n_heads=0, n_experts=0, seed=5):
    """Gated delta nets, and full attention in each `full_every`th layer. `n_heads` blocks more, for
    the token after the next one (MTP), attend as well: `context` is how far they and the model part
    from saying what follows from the last token alone (see mtp_files.py)."""
    arch = "qwen35moe" if n_experts else "qwen35"
    own = {
        "block_count": n_layers + n_heads,
        "feed_forward_length": _FF,
        "attention.head_count_kv": _KV_HEADS,
        "full_attention_interval": full_every,
        "rope.dimension_count": _HEAD_DIM,
        "rope.dimension_sections": [3, 3, 2, 0],
    }
    if n_heads:
        own["nextn_predict_layers"] = n_heads
    if n_experts:
        own |= {
            "expert_count": n_experts,
            "expert_used_count": 2,
            "expert_feed_forward_length": _EXPERT_FF,
            "expert_shared_feed_forward_length": _EXPERT_FF,
        }
    blocks = []
    for il in range(n_layers + n_heads):
        attends = il >= n_layers or (il + 1) % full_every == 0
        mixer = _gated_attention() if attends else _delta_net()
        feed = _experts(n_experts) if n_experts else _feed_forward("ffn_gate", "ffn_up")
        shapes = {"attn_norm.weight": (_D,), "post_attention_norm.weight": (_D,)}
        blocks.append(shapes | mixer | feed | (_joint() if il >= n_layers else {}))
    return _file(arch, own, blocks, seed, context)


def nemotron_h_bytes(layers="M-M*-", *, seed=5):
    """Each layer does one thing: M keeps a state (Mamba-2), * attends, - feeds forward."""
    own = {
        "block_count": len(layers),
        "feed_forward_length": [_FF if kind == "-" else 0 for kind in layers],
        "attention.head_count_kv": [_KV_HEADS if kind == "*" else 0 for kind in layers],
        "attention.layer_norm_epsilon": 1e-5,
    }
    shapes = {"M": _mamba2(), "*": _attention(_HEADS), "-": _feed_forward("ffn_up")}
    blocks = [{"attn_norm.weight": (_D,)} | shapes[kind] for kind in layers]
    return _file("nemotron_h", own, blocks, seed)


def _file(arch, own, blocks, seed, context=1.0):
    tensors = [Tensor("token_embd.weight", (_D, N_VOCAB))]
    for il, shapes in enumerate(blocks):
        tensors += [Tensor(f"blk.{il}.{name}", shape) for name, shape in shapes.items()]
    tensors += [Tensor("output_norm.weight", (_D,)), Tensor("output.weight", (_D, N_VOCAB))]
    draw = np.random.default_rng(seed)
    header = gguf_bytes(metadata(arch, _SHARED | own), tensors, data=False)
    return header + b"".join(_values(tensor, draw, context) for tensor in tensors)


def _attention(n_query_heads):
    return {
        "attn_q.weight": (_D, n_query_heads * _HEAD_DIM),
        "attn_k.weight": (_D, _KV_HEADS * _HEAD_DIM),
        "attn_v.weight": (_D, _KV_HEADS * _HEAD_DIM),
        "attn_output.weight": (_HEADS * _HEAD_DIM, _D),
    }


def _gated_attention():
    """A gate lies beside each head's query."""
    norms = {"attn_q_norm.weight": (_HEAD_DIM,), "attn_k_norm.weight": (_HEAD_DIM,)}
    return _attention(2 * _HEADS) | norms


def _delta_net():
    n_mixed = _INNER + 2 * _GROUPS * _STATE
    return {
        "attn_qkv.weight": (_D, n_mixed),
        "attn_gate.weight": (_D, _INNER),
        "ssm_conv1d.weight": (_CONV, n_mixed),
        "ssm_dt.bias": (_STATE_HEADS,),
        "ssm_a": (_STATE_HEADS,),
        "ssm_beta.weight": (_D, _STATE_HEADS),
        "ssm_alpha.weight": (_D, _STATE_HEADS),
        "ssm_norm.weight": (_STATE,),
        "ssm_out.weight": (_INNER, _D),
    }


def _mamba2():
    n_mixed = _INNER + 2 * _GROUPS * _STATE
    return {
        "ssm_in.weight": (_D, _INNER + n_mixed + _STATE_HEADS),
        "ssm_conv1d.weight": (_CONV, n_mixed),
        "ssm_conv1d.bias": (n_mixed,),
        "ssm_dt.bias": (_STATE_HEADS,),
        "ssm_a": (1, _STATE_HEADS),
        "ssm_d": (1, _STATE_HEADS),
        "ssm_norm.weight": (_INNER // _GROUPS, _GROUPS),
        "ssm_out.weight": (_INNER, _D),
    }


def _feed_forward(*rising):
    return {f"{name}.weight": (_D, _FF) for name in rising} | {"ffn_down.weight": (_FF, _D)}


def _experts(n):
    return {
        "ffn_gate_inp.weight": (_D, n),
        "ffn_gate_exps.weight": (_D, _EXPERT_FF, n),
        "ffn_up_exps.weight": (_D, _EXPERT_FF, n),
        "ffn_down_exps.weight": (_EXPERT_FF, _D, n),
        "ffn_gate_inp_shexp.weight": (_D,),
        "ffn_gate_shexp.weight": (_D, _EXPERT_FF),
        "ffn_up_shexp.weight": (_D, _EXPERT_FF),
        "ffn_down_shexp.weight": (_EXPERT_FF, _D),
    }


def _joint():
    """What joins a token with the state of the one before it."""
    return {
        "nextn.eh_proj.weight": (2 * _D, _D),
        "nextn.enorm.weight": (_D,),
        "nextn.hnorm.weight": (_D,),
    }


def _values(tensor, draw, context):
    shape, name = tensor.shape[::-1], tensor.name
    values = draw.standard_normal(shape) / np.sqrt(shape[-1])
    if "norm" in name or name.endswith("ssm_d"):
        values = np.ones(shape)
    elif name.endswith("ssm_a"):  # how fast a state fades: exp(a · softplus(…)) a token
        values = -draw.uniform(0.02, 0.3, shape)
    elif "eh_proj" in name:  # the token first, then the state
        values *= context
        values[:, :_D] += np.eye(_D)
    elif any(part in name for part in ("attn_output", "ssm_out", "ffn_down")):
        values *= context
    padded = values.astype("<f4").tobytes()
    return padded + bytes(-len(padded) % 32)
