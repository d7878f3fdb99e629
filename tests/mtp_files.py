"""Tiny models with a head for the token after the next one (MTP): real to llama.cpp, untrained.

Without attention and feed-forward a model's next token follows from the last one alone, and so
does its head's: both see the same embedding. `context` is how far they part from that: the weight
of what earlier tokens add, which the head reads with other weights than the model.
"""

import numpy as np
from gguf_files import Tensor, gguf_bytes
from tiny_vocabulary import N_VOCAB, metadata

_D, _HEADS, _KV_HEADS, _HEAD_DIM = 64, 4, 2, 16
_FF, _EXPERTS, _EXPERT_FF = 96, 4, 32


def mtp_bytes(context=0.0, *, n_trunk=2, n_heads=1, with_head=True, seed=5):
    """A GLM-4.5 by its shape: `n_trunk` blocks and `n_heads` more, absent without `with_head`."""
    n_layers = n_trunk + n_heads
    tensors = [Tensor("token_embd.weight", (_D, N_VOCAB))]
    for il in range(n_layers if with_head else n_trunk):
        tensors += _block(il, is_dense=il == 0)
        if il >= n_trunk:
            tensors += _joint(il)
    tensors += [Tensor("output_norm.weight", (_D,)), Tensor("output.weight", (_D, N_VOCAB))]
    header = gguf_bytes(_metadata(n_layers, n_heads), tensors, data=False)
    draw = np.random.default_rng(seed)
    return header + b"".join(_values(tensor, draw, context) for tensor in tensors)


def _metadata(n_layers, n_heads):
    own = {
        "block_count": n_layers,
        "nextn_predict_layers": n_heads,
        "context_length": 2048,
        "embedding_length": _D,
        "feed_forward_length": _FF,
        "attention.head_count": _HEADS,
        "attention.head_count_kv": _KV_HEADS,
        "attention.key_length": _HEAD_DIM,
        "attention.value_length": _HEAD_DIM,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": _HEAD_DIM,
        "expert_count": _EXPERTS,
        "expert_used_count": 2,
        "expert_feed_forward_length": _EXPERT_FF,
        "expert_shared_count": 1,
        "leading_dense_block_count": 1,
        "expert_weights_scale": 1.0,
        "expert_weights_norm": True,
    }
    return metadata("glm4moe", own)


def _block(il, *, is_dense):
    shapes = {
        "attn_norm": (_D,),
        "attn_q": (_D, _HEADS * _HEAD_DIM),
        "attn_k": (_D, _KV_HEADS * _HEAD_DIM),
        "attn_v": (_D, _KV_HEADS * _HEAD_DIM),
        "attn_output": (_HEADS * _HEAD_DIM, _D),
        "post_attention_norm": (_D,),
    }
    if is_dense:
        shapes |= {"ffn_gate": (_D, _FF), "ffn_up": (_D, _FF), "ffn_down": (_FF, _D)}
    else:
        shapes |= {
            "ffn_gate_inp": (_D, _EXPERTS),
            "ffn_gate_exps": (_D, _EXPERT_FF, _EXPERTS),
            "ffn_down_exps": (_EXPERT_FF, _D, _EXPERTS),
            "ffn_up_exps": (_D, _EXPERT_FF, _EXPERTS),
            "ffn_gate_shexp": (_D, _EXPERT_FF),
            "ffn_down_shexp": (_EXPERT_FF, _D),
            "ffn_up_shexp": (_D, _EXPERT_FF),
        }
        yield Tensor(f"blk.{il}.exp_probs_b.bias", (_EXPERTS,))
    yield from (Tensor(f"blk.{il}.{name}.weight", shape) for name, shape in shapes.items())


def _joint(il):
    """What joins a token with the state of the one before it."""
    yield Tensor(f"blk.{il}.nextn.eh_proj.weight", (2 * _D, _D))
    yield Tensor(f"blk.{il}.nextn.enorm.weight", (_D,))
    yield Tensor(f"blk.{il}.nextn.hnorm.weight", (_D,))


def _values(tensor, draw, context):
    shape, name = tensor.shape[::-1], tensor.name
    values = draw.standard_normal(shape) / np.sqrt(shape[-1])
    if "norm" in name:
        values = np.ones(shape)
    elif "eh_proj" in name:  # the token first, then the state
        values *= context
        values[:, :_D] += np.eye(_D)
    elif "attn_output" in name or "ffn_down" in name:
        values *= context
    padded = values.astype("<f4").tobytes()
    return padded + bytes(-len(padded) % 32)
