"""A plan in words: what was chosen, why, what it costs where, what was not chosen."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from edgellm.probe.hardware import Hardware
from edgellm.selector.memory.budget import free_bytes
from edgellm.selector.plan import Alternative, Placement, Plan, Range, Rejected, Share
from edgellm.selector.telling.describe import experts_text, layers_text
from edgellm.tables import bullets, fitting, short_name, table, wrapped
from edgellm.units import DASH, format_bytes, format_rate, format_seconds

_MOST_COLUMNS, _MADE_FOR_COLUMNS, _LEAST_COLUMNS = 100, 80, 60
_PARTS = (("█", "weights"), ("▓", "KV cache"), ("▒", "compute"), ("░", "beside"))
_CHOSEN = "←"


def explain(plan: Plan, hardware: Hardware, columns: int = _MOST_COLUMNS) -> str:
    """Plain text, no colour, at most 100 columns and at least 60; made for 80 and more."""
    columns = max(_LEAST_COLUMNS, min(columns, _MOST_COLUMNS))
    blocks = [
        _head(plan, columns),
        ["why", *bullets(plan.reasons, columns)],
        _memory(plan, hardware, columns),
        _speed(plan),
    ]
    if len(plan.pareto) > 1:
        blocks.append(_pareto(plan, columns))
    if plan.rejected:
        blocks.append(["not chosen", *_indented(rejected_table(plan.rejected, columns - 2))])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def rejected_table(rows: Sequence[Rejected], columns: int) -> str:
    """What was not chosen, or did not fit, with the constraint that bound it."""
    return table(
        ("QUANT", "CONTEXT", "KV", "TOK/S", "WHY"),
        [
            (row.quant, str(row.n_ctx_seq), row.kv_type, _rate(row.decode_tok_s), row.binding)
            for row in rows
        ],
        right="CONTEXT,TOK/S",
        columns=columns,
    )


def _head(plan: Plan, columns: int) -> Iterator[str]:
    yield from wrapped(f"{plan.model} {plan.quant}   {plan.file}", columns)
    if plan.embedding:
        yield f"embeddings of texts up to {plan.n_ctx_seq} tokens, {plan.n_threads} threads"
        return
    cache: str = plan.kv_type_k
    if plan.kv_type_v != plan.kv_type_k:
        cache = f"{plan.kv_type_k}/{plan.kv_type_v}"
    conversations = "conversation" if plan.n_parallel == 1 else "conversations"
    yield from wrapped(
        f"{plan.n_parallel} {conversations} × {plan.n_ctx_seq} tokens, KV {cache}, "
        f"micro-batch {plan.n_ubatch}, {plan.n_threads} threads",
        columns,
    )
    if plan.n_replicas > 1:
        yield f"{plan.n_replicas} of it side by side, each on devices of its own"


def _memory(plan: Plan, hardware: Hardware, columns: int) -> Iterator[str]:
    source = "llama.cpp's own figures" if plan.bytes_from == "oracle" else "by arithmetic"
    marks = "  ".join(f"{mark} {name}" for mark, name in _PARTS)
    legend = f"memory   {marks}   ({source})"
    yield from [legend] if len(legend) <= columns else (f"memory   {marks}", f"  ({source})")
    widest = 28 if columns > 90 else 22
    names = [_name(hardware, share.device_id, widest) for share in plan.shares]
    name_columns = max(map(len, names))
    bar_columns = 30 if columns > 90 else 18 if columns >= _MADE_FOR_COLUMNS else 11
    for name, share in zip(names, plan.shares, strict=True):
        room = free_bytes(hardware, hardware.pool(share.pool_id))
        share = _in_memory(share, plan.placement)
        size = f"{format_bytes(share.total_bytes)} of {format_bytes(room)}"
        line = f"  {name:<{name_columns}}  {_bar(share, room, bar_columns)}  {size:>20}"
        carries = _carries(share)
        if len(line) + 2 + len(carries) <= columns:
            yield f"{line}  {carries}"
        else:
            yield from (line, f"    {carries}")
    yield from _shared_pools(plan.placement, hardware)
    if disk := plan.placement.disk_bytes:
        yield f"  {format_bytes(disk)} of the weights stay on disk, and are read for each token"


def _in_memory(share: Share, placement: Placement) -> Share:
    if share is not placement.shares[-1]:
        return share
    return replace(share, weight_bytes=share.weight_bytes - placement.disk_bytes)


def _shared_pools(placement: Placement, hardware: Hardware) -> Iterator[str]:
    """Two devices in one memory: neither bar alone says how full it is."""
    for pool in hardware.pools:
        inside = [share for share in placement.shares if share.pool_id == pool.id]
        if len(inside) > 1:
            together = sum(_in_memory(share, placement).total_bytes for share in inside)
            yield (
                f"  they share one memory: {format_bytes(together)} of "
                f"{format_bytes(free_bytes(hardware, pool))}"
            )


def _carries(share: Share) -> str:
    experts = experts_text(share) if share.expert_layers or share.expert_parts else ""
    layers = layers_text(len(share.layers)) if share.layers else ""
    return ", ".join(part for part in (layers, experts) if part) or "embedding"


def _bar(share: Share, room_bytes: int, columns: int) -> str:
    """Cumulated and then rounded, so that the parts together are as long as their sum."""
    parts = (share.weight_bytes, share.kv_bytes, share.compute_bytes, share.overhead_bytes)
    edges = [0]
    for n_bytes in parts:
        edges.append(edges[-1] + n_bytes)
    cells = [min(columns, round(columns * edge / max(1, room_bytes))) for edge in edges]
    drawn = "".join(
        mark * (after - before)
        for (mark, _), (before, after) in zip(_PARTS, pairwise(cells), strict=True)
    )
    return drawn.ljust(columns, "·")


def _speed(plan: Plan) -> Iterator[str]:
    yield f"{'speed':<22}{'p10':>8} {'p50':>8} {'p90':>8}"
    rows: list[tuple[str, Range | None, str]] = [
        ("one stream", plan.decode_tok_s, "tok/s"),
        (f"{plan.n_parallel} streams together", plan.batch_tok_s, "tok/s"),
        ("prompt", plan.prefill_tok_s, "tok/s"),
    ]
    for label, range_, unit in rows:
        if range_:
            yield f"  {label:<20}{_three(range_)} {unit}"
    if first := plan.ttft_s:
        times = " ".join(f"{format_seconds(s):>8}" for s in (first.p10, first.p50, first.p90))
        yield f"  {'first token':<20}{times}"
    if plan.power_w is not None:
        yield f"  {'power':<20}at most {plan.power_w:.0f} W, by the boards' limits"


def _pareto(plan: Plan, columns: int) -> Iterator[str]:
    yield "what can be traded for what"
    yield from _indented(
        fitting(
            ("QUANT", "CONTEXT", "KV", "MEMORY", "KLD", "TOK/S", "PROMPT", "WHERE"),
            [_trade(row, plan) for row in plan.pareto],
            right="CONTEXT,MEMORY,KLD,TOK/S,PROMPT",
            columns=columns - 2,
            may_go=("PROMPT", "KV", "KLD"),
        )
    )


def _trade(row: Alternative, plan: Plan) -> tuple[str, ...]:
    where = f"{row.placement} {_CHOSEN}" if _is_chosen(row, plan) else row.placement
    return (
        row.quant,
        f"{row.n_parallel}×{row.n_ctx_seq}",
        row.kv_type,
        format_bytes(row.total_bytes),
        f"{row.kld:.4f}",
        _rate(row.decode_tok_s),
        _rate(row.prefill_tok_s),
        where,
    )


def _is_chosen(row: Alternative, plan: Plan) -> bool:
    same = (row.quant, row.n_ctx_seq, row.n_parallel, row.total_bytes, row.decode_tok_s)
    return same == (
        plan.quant, plan.n_ctx_seq, plan.n_parallel, plan.total_bytes, plan.decode_tok_s
    )  # fmt: skip


def _three(range_: Range) -> str:
    return " ".join(f"{format_rate(n, ''):>8}" for n in (range_.p10, range_.p50, range_.p90))


def _rate(range_: Range | None) -> str:
    return format_rate(range_.p50, "") if range_ else DASH


def _name(hardware: Hardware, device_id: str, columns: int) -> str:
    """Those of one name are numbered in llama.cpp's order, whether they take part or not; on a chip
    that is both, the processor is told from the graphics."""
    named = hardware.device(device_id)
    alike = [device for device in hardware.devices if device.name == named.name]
    kinds = {device.backend == "cpu" for device in alike}
    of_kind = [one.id for one in alike if (one.backend == "cpu") == (named.backend == "cpu")]
    mark = "" if len(kinds) == 1 else " CPU" if named.backend == "cpu" else " GPU"
    mark += f" #{of_kind.index(device_id)}" if len(of_kind) > 1 else ""
    return _short(named.name, columns - len(mark)) + mark


def _short(name: str, columns: int) -> str:
    name = short_name(name, columns)
    return name if len(name) <= columns else name[: columns - 1] + "…"


def _indented(text: str) -> Iterator[str]:
    return (f"  {line}" for line in text.splitlines())
