"""A plan in words and in JSON: what was chosen, why, what it costs where, what was not chosen."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from edgellm.probe.hardware import Hardware
from edgellm.selector.budget import free_bytes
from edgellm.selector.plan import Plan, Range, Rejected, Share
from edgellm.units import DASH, format_bytes, format_rate

_BAR_CELLS = 30
_PARTS = (("█", "weights"), ("▓", "KV cache"), ("▒", "compute"), ("░", "driver"))


def explain(plan: Plan, hardware: Hardware) -> str:
    """Plain text, no colour, at most 100 columns where the reasons allow it."""
    blocks = [_head(plan), _why(plan), _memory(plan, hardware), _speed(plan)]
    if plan.rejected:
        blocks.append(_rejected(plan.rejected))
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def plan_json(plan: Plan) -> dict[str, Any]:
    """The documented shape of `edgellm plan --json`.

    `devices` are the accelerators that take part, `layers` how many of the model's layers each
    computes, the output head counted as one; `host` is the rest. A plan that exists fits.
    """
    *devices, host = plan.shares
    return {
        "plan": {
            "model": plan.model,
            "file": plan.file,
            "quant": plan.quant,
            "n_ctx": plan.n_ctx,
            "n_ctx_seq": plan.n_ctx_seq,
            "n_parallel": plan.n_parallel,
            "kv_type_k": plan.kv_type_k,
            "kv_type_v": plan.kv_type_v,
            "kv_unified": plan.kv_unified,
            "n_batch": plan.n_batch,
            "n_ubatch": plan.n_ubatch,
            "n_threads": plan.n_threads,
            "n_gpu_layers": plan.placement.n_gpu_layers,
            "tensor_split": list(plan.placement.tensor_split),
            "devices": [{"id": share.device_id, **_share_json(share)} for share in devices],
            "host": _share_json(host),
            "decode_tok_s": _range_json(plan.decode_tok_s),
            "prefill_tok_s": _range_json(plan.prefill_tok_s),
            "fits": True,
            "reasons": list(plan.reasons),
        },
        "rejected": [_rejected_json(row) for row in plan.rejected],
    }


# ---- text


def _head(plan: Plan) -> Iterator[str]:
    yield f"{plan.model} {plan.quant}   {plan.file}"
    if plan.embedding:
        yield f"embeddings of texts up to {plan.n_ctx_seq} tokens, {plan.n_threads} threads"
        return
    cache: str = plan.kv_type_k
    if plan.kv_type_v != plan.kv_type_k:
        cache = f"{plan.kv_type_k}/{plan.kv_type_v}"
    conversations = "conversation" if plan.n_parallel == 1 else "conversations"
    yield (
        f"{plan.n_parallel} {conversations} × {plan.n_ctx_seq} tokens, KV {cache}, "
        f"micro-batch {plan.n_ubatch}, {plan.n_threads} threads"
    )


def _why(plan: Plan) -> Iterator[str]:
    yield "why"
    for reason in plan.reasons:
        yield f"  · {reason}"


def _memory(plan: Plan, hardware: Hardware) -> Iterator[str]:
    yield "memory  " + "  ".join(f"{mark} {name}" for mark, name in _PARTS)
    for share in plan.shares:
        pool = hardware.pool(share.pool_id)
        room = free_bytes(hardware, pool)
        others = sum(x.total_bytes for x in plan.shares if x.pool_id == pool.id) - share.total_bytes
        free = f"{format_bytes(room)} free"
        if others:
            free += f", shared with {format_bytes(others)}"
        name = hardware.device(share.device_id).name
        yield (
            f"  {_short(name):<28} {_bar(share, room)} {format_bytes(share.total_bytes):>9} "
            f"of {free}, {_layers(share)}"
        )


def _layers(share: Share) -> str:
    n = len(share.layers)
    return "1 layer" if n == 1 else f"{n} layers" if n else "embedding and buffers"


def _bar(share: Share, room_bytes: int) -> str:
    """Cumulated and then rounded, so that the parts together are as long as their sum."""
    parts = (share.weight_bytes, share.kv_bytes, share.compute_bytes, share.overhead_bytes)
    edges = [0]
    for n_bytes in parts:
        edges.append(edges[-1] + n_bytes)
    cells = [min(_BAR_CELLS, round(_BAR_CELLS * edge / max(1, room_bytes))) for edge in edges]
    drawn = "".join(
        mark * (after - before)
        for (mark, _), (before, after) in zip(_PARTS, pairwise(cells), strict=True)
    )
    return drawn.ljust(_BAR_CELLS, "·")


def _speed(plan: Plan) -> Iterator[str]:
    yield "speed   p10 – p50 – p90"
    if plan.decode_tok_s:
        yield f"  decode, one stream   {_range(plan.decode_tok_s)}"
    if plan.prefill_tok_s:
        yield f"  prefill              {_range(plan.prefill_tok_s)}"


def _rejected(rows: tuple[Rejected, ...]) -> Iterator[str]:
    yield "not chosen"
    width = max(len(row.quant) for row in rows)
    for row in rows:
        rate = format_rate(row.decode_tok_s.p50) if row.decode_tok_s else DASH
        yield (
            f"  {row.quant:<{width}}  {row.n_ctx_seq:>7} tokens  KV {row.kv_type:<5} "
            f"{rate:>12}  {row.binding}"
        )


def _range(rate: Range) -> str:
    low, usual, high = (format_rate(n, "").strip() for n in (rate.p10, rate.p50, rate.p90))
    return f"{low} – {usual} – {high} tok/s"


def _short(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"


# ---- JSON


def _share_json(share: Share) -> dict[str, int]:
    return {
        "layers": len(share.layers),
        "weight_bytes": share.weight_bytes,
        "kv_bytes": share.kv_bytes,
        "compute_bytes": share.compute_bytes,
        "overhead_bytes": share.overhead_bytes,
    }


def _range_json(rate: Range | None) -> dict[str, float] | None:
    if rate is None:
        return None
    return {"p10": round(rate.p10, 2), "p50": round(rate.p50, 2), "p90": round(rate.p90, 2)}


def _rejected_json(row: Rejected) -> dict[str, Any]:
    return {
        "quant": row.quant,
        "n_ctx_seq": row.n_ctx_seq,
        "kv_type": row.kv_type,
        "binding": row.binding,
        "decode_tok_s": _range_json(row.decode_tok_s),
    }
