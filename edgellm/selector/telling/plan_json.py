"""A plan as JSON: the documented shape of `edgellm plan --json` (docs/plan-json.md).

Programs are written against it: a key may be added, none goes away or changes its meaning. What is
not known is null; what does not fit has the keys that are known, and `fits` is false.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from edgellm.errors import DoesNotFit
from edgellm.selector.plan import Alternative, Placement, Plan, Range, Rejected, Share


def plan_json(plan: Plan) -> dict[str, Any]:
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
            "prefix_ram_bytes": plan.prefix_ram_bytes,
            "n_batch": plan.n_batch,
            "n_ubatch": plan.n_ubatch,
            "n_threads": plan.n_threads,
            **_placement(plan.placement),
            "n_replicas": plan.n_replicas,
            "speculate": plan.speculate,
            "projector": _projector(plan),
            "draft": _beside(plan.draft, plan.draft_bytes),
            "bytes_from": plan.bytes_from,
            "decode_tok_s": _range(plan.decode_tok_s),
            "batch_tok_s": _range(plan.batch_tok_s),
            "prefill_tok_s": _range(plan.prefill_tok_s),
            "ttft_s": _range(plan.ttft_s, digits=4),
            "power_w": plan.power_w,
            "fits": True,
            "reasons": list(plan.reasons),
            "pareto": [_alternative(row) for row in plan.pareto],
        },
        "rejected": [_rejected(row) for row in plan.rejected],
    }


def _placement(placement: Placement) -> dict[str, Any]:
    """`devices` are the accelerators that take part, `layers` how many of the model's layers each
    computes, the output head counted as one; `host` is the rest."""
    *devices, host = placement.shares
    return {
        "n_gpu_layers": placement.n_gpu_layers,
        "tensor_split": list(placement.tensor_split),
        "n_cpu_moe": placement.n_cpu_moe,
        "expert_parts": [
            {"layer": part.layer, "matrices": list(part.matrices)}
            for part in placement.expert_parts
        ],
        "split_mode": placement.split_mode,
        "op_offload": placement.op_offload,
        "no_host": placement.no_host,
        "disk_bytes": placement.disk_bytes,
        "devices": [{"id": share.device_id, **_share(share)} for share in devices],
        "host": _share(host),
    }


def refusal_json(
    model: str,
    error: DoesNotFit,
    rejected: Sequence[Rejected],
    would_fit: Mapping[str, Plan],
) -> dict[str, Any]:
    """The same shape where nothing fits: what was tried is in `rejected`, the nearest first.
    `would_fit`: plans by the change to the command that each takes."""
    nearest = rejected[0] if rejected else None
    return {
        "plan": {
            "model": model,
            "quant": nearest and nearest.quant,
            "n_ctx_seq": nearest and nearest.n_ctx_seq,
            "kv_type_k": nearest and nearest.kv_type,
            "fits": False,
            "reasons": [text for text in (str(error), error.hint) if text],
        },
        "rejected": [_rejected(row) for row in rejected],
        "instead": [{"change": change, **_brief(plan)} for change, plan in would_fit.items()],
    }


def _brief(plan: Plan) -> dict[str, Any]:
    return {
        "file": plan.file,
        "quant": plan.quant,
        "n_ctx_seq": plan.n_ctx_seq,
        "n_parallel": plan.n_parallel,
        "kv_type_k": plan.kv_type_k,
        "total_bytes": plan.total_bytes,
        "decode_tok_s": _range(plan.decode_tok_s),
    }


def _share(share: Share) -> dict[str, int]:
    return {
        "layers": len(share.layers),
        "expert_layers": len(share.expert_layers),
        "weight_bytes": share.weight_bytes,
        "kv_bytes": share.kv_bytes,
        "compute_bytes": share.compute_bytes,
        "overhead_bytes": share.overhead_bytes,
    }


def _projector(plan: Plan) -> dict[str, Any] | None:
    """`modalities` is null where its header wasn't read."""
    beside = _beside(plan.projector, plan.projector_bytes)
    if beside is None:
        return None
    modalities = None if plan.modalities is None else list(plan.modalities)
    return {**beside, "modalities": modalities}


def _beside(file: str | None, n_bytes: int) -> dict[str, Any] | None:
    return {"file": file, "bytes": n_bytes} if n_bytes else None


def _range(values: Range | None, digits: int = 2) -> dict[str, float] | None:
    if values is None:
        return None
    return {
        "p10": round(values.p10, digits),
        "p50": round(values.p50, digits),
        "p90": round(values.p90, digits),
    }


def _alternative(row: Alternative) -> dict[str, Any]:
    return {
        "quant": row.quant,
        "n_ctx_seq": row.n_ctx_seq,
        "n_parallel": row.n_parallel,
        "kv_type": row.kv_type,
        "placement": row.placement,
        "total_bytes": row.total_bytes,
        "kld": round(row.kld, 5),
        "decode_tok_s": _range(row.decode_tok_s),
        "prefill_tok_s": _range(row.prefill_tok_s),
    }


def _rejected(row: Rejected) -> dict[str, Any]:
    return {
        "quant": row.quant,
        "n_ctx_seq": row.n_ctx_seq,
        "kv_type": row.kv_type,
        "binding": row.binding,
        "decode_tok_s": _range(row.decode_tok_s),
    }
