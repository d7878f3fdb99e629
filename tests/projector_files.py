"""Projectors of random weights, tiny but real: llama.cpp loads them, and two pictures differ, or
two sounds."""

import random
import struct

from gguf_files import Tensor, gguf_bytes, text, value_bytes

from edgellm.models.gguf.header import tensor_info
from edgellm.models.gguf.values import Cursor

DEMO_WIDTH = 256  # of the demo model's vectors
_WIDTH, _FF, _PATCH, _BLOCKS = 64, 128, 8, 2
_F16 = 1
_N_MELS, _POSITIONS, _STACK = 16, 1500, 50  # Whisper's 30 seconds become 30 rows


def projector_bytes(kind="mlp", width=DEMO_WIDTH, *, side=32, seed=3):
    """`mlp`: LLaVA's, a row for each patch of `side` × `side` pixels. `gemma3`: a row for each
    2 × 2 patches, and they attend to one another in both directions. `qwen2vl_merger`: a row for
    each 2 × 2 patches, of a picture as large as it is; for models with M-RoPE two-dimensional."""
    n_patches = (side // _PATCH) ** 2
    n_positions = {"mlp": n_patches + 1, "gemma3": n_patches}.get(kind)
    tensors = [*_encoder(n_positions), *_KINDS[kind](width)]
    return _file(_metadata(kind, width, side), tensors, seed)


def audio_projector_bytes(width=DEMO_WIDTH, *, seed=3):
    """Ultravox's: Whisper's encoder, and a row for each second of what is cut to 30 seconds."""
    metadata = _audio_metadata(width) | {"clip.projector_type": "ultravox"}
    return _file(metadata, list(_ultravox(width)), seed)


def both_projector_bytes(width=DEMO_WIDTH, *, side=32, seed=3):
    """LLaVA's and Ultravox's in one file, as Qwen2.5-Omni's and Gemma 4's have two encoders."""
    metadata = _metadata("mlp", width, side) | _audio_metadata(width)
    del metadata["clip.projector_type"]
    kinds = {"clip.vision.projector_type": "mlp", "clip.audio.projector_type": "ultravox"}
    tensors = [*_encoder((side // _PATCH) ** 2 + 1), *_mlp(width), *_ultravox(width)]
    return _file(metadata | kinds, tensors, seed)


def _audio_metadata(width):
    audio = {
        "num_mel_bins": _N_MELS,
        "embedding_length": _WIDTH,
        "feed_forward_length": _FF,
        "projection_dim": width,
        "block_count": _BLOCKS,
        "attention.head_count": 4,
        "attention.layer_norm_epsilon": 1e-5,
        "projector.stack_factor": _STACK,
    }
    return {
        "general.architecture": "clip",
        "clip.has_audio_encoder": True,
        **{f"clip.audio.{key}": value for key, value in audio.items()},
    }


def _file(metadata, tensors, seed):
    header = gguf_bytes(metadata, tensors, data=False)
    draw = random.Random(seed)
    return header + b"".join(_values(tensor, draw) for tensor in tensors)


def _metadata(kind, width, side):
    vision = {
        "image_size": side,
        "patch_size": _PATCH,
        "embedding_length": _WIDTH,
        "feed_forward_length": _FF,
        "projection_dim": width,
        "block_count": _BLOCKS,
        "attention.head_count": 4,
        "attention.layer_norm_epsilon": 1e-5,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "projector.scale_factor": 2,
    }
    return {
        "general.architecture": "clip",
        "clip.has_vision_encoder": True,
        "clip.projector_type": kind,
        "clip.use_gelu": True,
        **{f"clip.vision.{key}": value for key, value in vision.items()},
    }


def _encoder(n_positions):
    yield Tensor("v.patch_embd.weight", (_PATCH, _PATCH, 3, _WIDTH))
    if n_positions:
        yield Tensor("v.position_embd.weight", (_WIDTH, n_positions))
    yield from _blocks("v", ("attn_q", "attn_k", "attn_v", "attn_out"))


def _blocks(of, with_bias):
    for i in range(_BLOCKS):
        block = f"{of}.blk.{i}."
        for name in with_bias:
            yield from _linear(block + name, _WIDTH, _WIDTH)
        yield from _norm(block + "ln1")
        yield from _norm(block + "ln2")
        yield from _linear(block + "ffn_up", _WIDTH, _FF)
        yield from _linear(block + "ffn_down", _FF, _WIDTH)


def _mlp(width):
    yield Tensor("v.class_embd", (_WIDTH,))
    yield from _norm("v.pre_ln")
    yield from _linear("mm.0", _WIDTH, width)
    yield from _linear("mm.2", width, width)


def _gemma3(width):
    yield Tensor("v.patch_embd.bias", (_WIDTH,))
    yield from _norm("v.post_ln")
    yield Tensor("mm.input_projection.weight", (width, _WIDTH))
    yield Tensor("mm.soft_emb_norm.weight", (_WIDTH,))


def _qwen2vl(width):
    yield Tensor("v.patch_embd.weight.1", (_PATCH, _PATCH, 3, _WIDTH))
    yield from _norm("v.post_ln")
    yield from _linear("mm.0", 4 * _WIDTH, 4 * _WIDTH)
    yield from _linear("mm.2", 4 * _WIDTH, width)


def _ultravox(width):
    """Whisper's keys have no bias."""
    yield Tensor("a.position_embd.weight", (_WIDTH, _POSITIONS))
    for i, n_in in ((1, _N_MELS), (2, _WIDTH)):
        yield Tensor(f"a.conv1d.{i}.weight", (3, n_in, _WIDTH), _F16)
        yield Tensor(f"a.conv1d.{i}.bias", (1, _WIDTH))
    yield from _blocks("a", ("attn_q", "attn_v", "attn_out"))
    for i in range(_BLOCKS):
        yield Tensor(f"a.blk.{i}.attn_k.weight", (_WIDTH, _WIDTH))
    yield from _norm("a.post_ln")
    yield Tensor("mm.a.norm_pre.weight", (_STACK * _WIDTH,))
    yield Tensor("mm.a.mlp.1.weight", (_STACK * _WIDTH, 2 * _FF))
    yield Tensor("mm.a.norm_mid.weight", (_FF,))
    yield Tensor("mm.a.mlp.2.weight", (_FF, width))


_KINDS = {"mlp": _mlp, "gemma3": _gemma3, "qwen2vl_merger": _qwen2vl}


def with_mrope(data, sections=(8, 12, 12, 0)):
    """A llama model's file as one of Qwen2-VL's architecture: the same weights, other positions."""
    cursor = Cursor(data, None)
    cursor.at = 8
    n_tensors, n_keys = struct.unpack_from("<QQ", data, cursor.at)
    cursor.at += 16
    keys = text("qwen2vl.rope.dimension_sections") + value_bytes(list(sections))
    for _ in range(n_keys):
        key = cursor.string()
        begin = cursor.at
        cursor.value(key)
        value = data[begin : cursor.at]
        if key == "general.architecture":
            value = value_bytes("qwen2vl")
        keys += text(key.replace("llama.", "qwen2vl.", 1)) + value
    begin = cursor.at
    for _ in range(n_tensors):
        tensor_info(cursor)
    infos, weights = data[begin : cursor.at], data[cursor.at + -cursor.at % 32 :]
    head = b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_keys + 1) + keys + infos
    return head + bytes(-len(head) % 32) + weights


def _linear(name, n_in, n_out):
    return Tensor(f"{name}.weight", (n_in, n_out)), Tensor(f"{name}.bias", (n_out,))


def _norm(name):
    return Tensor(f"{name}.weight", (_WIDTH,)), Tensor(f"{name}.bias", (_WIDTH,))


def _values(tensor, draw):
    """Around 1 where a norm scales, around 0 elsewhere; padded as the file's offsets say."""
    n, centre = 1, 0.0
    for size in tensor.shape:
        n *= size
    if "norm" in tensor.name or (tensor.name.endswith("weight") and "ln" in tensor.name):
        centre = 1.0
    spread = 0.3 if len(tensor.shape) == 1 else 1 / tensor.shape[0] ** 0.5
    code = "e" if tensor.type_id == _F16 else "f"
    data = struct.pack(f"<{n}{code}", *(draw.gauss(centre, spread) for _ in range(n)))
    return data + bytes(-len(data) % 32)
