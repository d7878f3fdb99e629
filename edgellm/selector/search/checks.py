"""What can't be, whatever else is chosen: numbers out of bounds, pins that contradict each other,
the model or the machine. Raises BadRequest with the numbers."""

from math import isfinite

from edgellm.errors import BadRequest
from edgellm.models.quants import BY_NAME
from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Device
from edgellm.selector.plan import Goal, KVType

MAX_SEQUENCES = 256  # LLAMA_MAX_SEQ, src/llama-cparams.h
_MAX_THREADS = 512  # GGML_MAX_N_THREADS
_MAX_TOKENS = 2**31 - 1  # n_ctx and n_ubatch are 32 bits wide
_LARGEST = {
    "n_ctx_seq": _MAX_TOKENS, "n_ctx": _MAX_TOKENS, "min_ctx_seq": _MAX_TOKENS,
    "n_ubatch": _MAX_TOKENS, "n_threads": _MAX_THREADS, "n_parallel": MAX_SEQUENCES,
}  # fmt: skip
_FLAGS = {
    "n_ctx_seq": "--ctx", "n_ctx": "-c", "min_ctx_seq": "--min-ctx", "n_ubatch": "-ub",
    "n_threads": "-t", "n_parallel": "--parallel", "min_tok_s": "--min-tok-s",
    "max_watts": "--max-watts",
}  # fmt: skip

# Source: ggml/src of llama.cpp 0.3.36's: only these backends have split buffers (row), and
# src/llama-arch.cpp llm_arch_supports_sm_tensor names those that can't be split by tensors.
ROW_BACKENDS = frozenset({"sycl"})
_NO_TENSOR_SPLIT = frozenset({
    "grok", "mpt", "plamo2", "minicpm3", "gemma3n", "mamba", "mamba2", "jamba", "falcon-h1",
    "olmo2", "olmoe", "deepseek2", "deepseek32", "hy_v4", "dots3note", "glm-dsa", "bitnet", "t5",
    "nemotron_h", "nemotron_h_moe", "granitehybrid", "minimax-01", "minimax-m2", "minimax-m3",
    "mistral4", "kimi-linear", "bailingmoe3", "kimi-k3", "glm5-next", "qwen3tts", "qwen4exp",
})  # fmt: skip


def check_goal(goal: Goal) -> None:
    """Whatever the model and the machine."""
    for name, largest in _LARGEST.items():
        _check_count(goal, name, largest)
    for name in ("min_tok_s", "max_watts"):
        value = getattr(goal, name)
        if value is not None and not (isfinite(value) and value > 0):
            raise BadRequest(f"{_FLAGS[name]} is {value}; it must be more than 0", param=name)
    if goal.reserve_bytes is not None and goal.reserve_bytes < 0:
        raise BadRequest(f"reserve is {goal.reserve_bytes} bytes; it can't be negative")
    if goal.n_cpu_moe is not None and goal.n_cpu_moe < 0:
        raise BadRequest(
            f"-ncmoe is {goal.n_cpu_moe}; it counts layers, from 0 on", param="n_cpu_moe"
        )
    _check_contexts(goal)
    _check_cache(goal)
    _check_split_numbers(goal)


def check_pins(goal: Goal, spec: ModelSpec, accelerators: tuple[Device, ...]) -> None:
    """Of one model on one machine."""
    if goal.n_cpu_moe and not any(layer.expert_bytes for layer in spec.layers):
        raise BadRequest(
            f"-ncmoe {goal.n_cpu_moe}: {spec.name} has no experts",
            hint="leave it out, or use -ngl to keep whole layers on the CPU",
            param="n_cpu_moe",
        )
    if goal.tensor_split and len(goal.tensor_split) > len(accelerators):
        there = ", ".join(device.name for device in accelerators)
        raise BadRequest(
            f"-ts names {len(goal.tensor_split)} devices; this machine has {len(accelerators)} "
            "that llama.cpp can use",
            hint=f"in their order: {there}" if there else "leave it out",
            param="tensor_split",
        )
    if goal.split_mode in ("row", "tensor"):
        _check_split_mode(goal.split_mode, spec, accelerators)
    pair = goal.kv_type_k or goal.kv_type_v, goal.kv_type_v or goal.kv_type_k
    if any(layer.kv_kind == "latent" for layer in spec.layers) and pair[0] != pair[1]:
        raise BadRequest(
            f"{spec.name} keeps K and V in one latent row, and -ctk {pair[0]} differs from "
            f"-ctv {pair[1]}",
            hint="give both the same type",
            param="kv_type_v",
        )


def tensor_split_refusal(spec: ModelSpec, accelerators: tuple[Device, ...]) -> str | None:
    """Why llama.cpp can't split this model's tensors over these devices."""
    if len(accelerators) < 2:
        return f"it needs two devices; this machine has {len(accelerators)}"
    if spec.architecture in _NO_TENSOR_SPLIT:
        return f"llama.cpp has no tensor split for {spec.architecture}"
    if len({device.backend for device in accelerators}) > 1:
        return "its devices must have one backend"
    return None


def check_heads(spec: ModelSpec, kv_types: tuple[KVType, KVType]) -> None:
    misfit = misfit_of(spec, kv_types)
    if misfit:
        kind, size = misfit
        raise BadRequest(
            f"a {kind} cache comes in blocks of {BY_NAME[kind].block}, "
            f"which don't divide {spec.name}'s heads of {size}",
            hint="use -ctk f16 -ctv f16",
            param="kv_type_k",
        )


def misfit_of(spec: ModelSpec, kv_types: tuple[KVType, KVType]) -> tuple[KVType, int] | None:
    """A cache type whose blocks don't divide a head, with that head's size."""
    for layer in spec.layers:
        if layer.kv_kind in ("none", "recurrent"):
            continue
        heads = (layer.head_dim_k, 0 if layer.kv_kind == "latent" else layer.head_dim_v)
        for kind, size in zip(kv_types, heads, strict=True):
            if size % BY_NAME[kind].block:
                return kind, size
    return None


def _check_count(goal: Goal, name: str, largest: int) -> None:
    value = getattr(goal, name)
    if value is None:
        return
    if value < 1:
        raise BadRequest(f"{name} is {value}; it must be at least 1", param=name)
    if value > largest:
        what = "parallel sequences" if name == "n_parallel" else f"as {_FLAGS[name]}"
        raise BadRequest(
            f"{value} {what}; llama.cpp holds {largest}",
            hint=f"use {_FLAGS[name]} {largest} or fewer",
            param=name,
        )


def _check_contexts(goal: Goal) -> None:
    if goal.n_ctx and goal.n_ctx_seq and goal.n_ctx < goal.n_ctx_seq:
        raise BadRequest(
            f"one conversation of {goal.n_ctx_seq} tokens exceeds all {goal.n_ctx} cells",
            hint="raise -c or lower --ctx",
            param="n_ctx",
        )
    if goal.n_ctx and goal.n_parallel and goal.n_ctx < goal.n_parallel:
        raise BadRequest(
            f"-c {goal.n_ctx} leaves no cell for each of {goal.n_parallel} conversations",
            hint="raise -c or lower --parallel",
            param="n_ctx",
        )
    wished = (goal.n_ctx_seq or 0) * (goal.n_parallel or 0)
    if goal.n_ctx and goal.n_ctx < wished and goal.kv_unified is not True:
        raise BadRequest(
            f"{goal.n_parallel} conversations of {goal.n_ctx_seq} tokens are {wished}, "
            f"-c {goal.n_ctx} is less",
            hint="leave -c out, or let them share one pool: --kv-unified",
            param="n_ctx",
        )
    if goal.min_ctx_seq is None:
        return
    given = goal.n_ctx_seq or (goal.n_ctx and goal.n_ctx // (goal.n_parallel or 1))
    if given and given < goal.min_ctx_seq:
        raise BadRequest(
            f"one conversation gets {given} tokens, and --min-ctx asks for {goal.min_ctx_seq}",
            hint="raise --ctx or -c, or lower --min-ctx",
            param="min_ctx_seq",
        )


def _check_cache(goal: Goal) -> None:
    if goal.batch_invariant and goal.kv_unified:
        raise BadRequest(
            "a batch-invariant answer needs a KV stream of its own, not one pool for all",
            hint="leave --kv-unified or --batch-invariant out",
            param="kv_unified",
        )
    if goal.flash_attention is not False:
        return
    if goal.kv_type_v and BY_NAME[goal.kv_type_v].block > 1:
        raise BadRequest(
            f"a {goal.kv_type_v} V cache needs flash attention, which is switched off",
            hint="leave flash attention on, or use -ctv f16",
            param="kv_type_v",
        )
    if goal.split_mode == "tensor":
        raise BadRequest(
            "-sm tensor needs flash attention, which is switched off",
            hint="leave flash attention on, or use -sm layer",
            param="split_mode",
        )


def _check_split_numbers(goal: Goal) -> None:
    split = goal.tensor_split
    if split is None:
        return
    if any(part < 0 or not isfinite(part) for part in split) or not any(split):
        said = ",".join(f"{part:g}" for part in split) or "empty"
        raise BadRequest(
            f"-ts is {said}; it takes proportions from 0 on, and at least one above",
            param="tensor_split",
        )
    if goal.n_gpu_layers == 0:
        raise BadRequest(
            "-ts shares layers over devices, and -ngl 0 leaves none to share",
            hint="leave one of them out",
            param="n_gpu_layers",
        )


def _check_split_mode(mode: str, spec: ModelSpec, accelerators: tuple[Device, ...]) -> None:
    why = tensor_split_refusal(spec, accelerators)
    if mode == "row":
        without = [device.name for device in accelerators if device.backend not in ROW_BACKENDS]
        if len(accelerators) < 2:
            why = f"it needs two devices; this machine has {len(accelerators)}"
        elif without:
            why = f"{without[0]} has no split buffers in this llama.cpp (only SYCL has them)"
        elif any(layer.expert_bytes for layer in spec.layers):
            why = "experts can't be split by rows"
        else:
            why = None
    if why:
        raise BadRequest(f"-sm {mode}: {why}", hint="use -sm layer", param="split_mode")
