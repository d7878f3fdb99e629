"""The model's card: what runs, as what, and how full it is.

A small screen shows the first rows by importance, in the order of reading; the plan's details
have a screen of their own.
"""

from pathlib import PurePosixPath

from edgellm.status import MAKING_THE_CONTEXT, EnergyStatus, ModelStatus, PlanStatus, is_all_read
from edgellm.tui.drawn import numbers
from edgellm.tui.drawn.lines import Block, Line, Span, Tone, bar, box, joined, pad, wrap
from edgellm.tui.view import PASSING, View
from edgellm.units import DASH, format_bytes, format_seconds

_LABEL_COLUMNS = 8
_STATES: dict[str, tuple[str, Tone]] = {  # a mark and a word each: colour only underlines
    "starting": ("◌", "warn"),
    "loading": ("◌", "warn"),
    "waking": ("◌", "warn"),
    "ready": ("●", "good"),
    "sleeping": ("○", "dim"),
    "restarting": ("↻", "warn"),
    "failed": ("✗", "bad"),
    "stopping": ("◌", "warn"),
    "stopped": ("○", "dim"),
}
_HEALTH = {"degraded": Span("! degraded", "warn"), "lost": Span("✗ device lost", "bad")}


def model_card(view: View, width: int, height: int) -> Block:
    model = view.model
    if model is None:
        return box((Span("model", "strong"),), (), nothing(view, width - 4), width, height)
    inner = width - 4
    kept = sorted(_rows(view, model, inner), key=lambda row: row[0])[: height - 2]
    order = [row for row in _rows(view, model, inner) if row in kept]
    is_told = model.name == "demo"  # by its name
    mark = (Span(" demo", "dim"),) if model.demo and not is_told else ()
    title = (Span(model.name, "strong"), *mark)
    return box(title, state_note(model, view), [line for _, line in order], width, height)


def state_note(model: ModelStatus, view: View) -> Line:
    """Of a server that does not answer only what it was is known."""
    if not (view.is_live or view.played):
        return (Span(f"○ was {model.state}", "dim"),)
    ill = _HEALTH.get(model.health.state) if model.health else None
    if ill and model.health and (model.state == "ready" or model.health.state == "lost"):
        return (ill,)
    mark, tone = _STATES.get(model.state, ("·", "dim"))
    return (Span(f"{mark} {model.state}", tone),)


def nothing(view: View, width: int) -> Block:
    if view.status is None:
        told, advice = f"nothing known of {view.url} yet", "start a server there with "
        if view.is_refused:
            return _dim(told, width)
        return [*_dim(told, width), *_with_command(advice, "edgellm up", width)]
    if view.status.download is not None:
        return _dim("the model is on its way", width)
    told, advice = "the server has no model yet", "give it one with "
    return [*_dim(told, width), *_with_command(advice, "edgellm serve MODEL", width)]


def _dim(text: str, width: int) -> Block:
    return [(Span(part, "dim"),) for part in wrap(text, width)]


def _with_command(advice: str, command: str, width: int) -> Block:
    """The command in one piece, on a line of its own where it must."""
    if len(advice) + len(command) <= width:
        return [(Span(advice, "dim"), Span(command))]
    return [*_dim(advice.strip(), width), (Span(command),)]


def _rows(view: View, model: ModelStatus, width: int) -> list[tuple[int, Line]]:
    """(importance, line), in the order of reading; 0 is the most important."""
    room = width - _LABEL_COLUMNS
    rows: list[tuple[int, Line]] = [(0, line) for line in trouble(model, width)]
    if view.status and view.status.held_up:
        rows.append((0, _labelled("waiting", (Span(view.status.held_up, "warn"),))))
    if model.n_restarts:
        rows.append((0, _labelled("died", (Span(f"{model.n_restarts}×, restarted", "warn"),))))
    if model.state in PASSING:
        rows.append((0, _labelled("loading", _progress(model, room))))
    if model.plan is not None:
        rows += _plan_rows(model, model.plan, room)
    rows.append((3, _labelled("cells", _cells(model, room))))
    rows.append((4, _labelled("cache", (Span(joined(_cache(model), room)),))))
    if model.plan is not None:
        rows.append((6, _labelled("memory", (Span(joined(_memory(model.plan), room)),))))
    rows.append((7, _labelled("process", (Span(joined(_process(model), room)),))))
    if view.status and view.status.energy:
        rows.append((5, _labelled("energy", (Span(joined(_energy(view.status.energy), room)),))))
    rows += [(5, _labelled("beside", _other(other, view))) for other in view.others]
    return rows


def _plan_rows(model: ModelStatus, plan: PlanStatus, room: int) -> list[tuple[int, Line]]:
    return [
        (2, _labelled("file", (Span(PurePosixPath(plan.file).name),))),
        (1, _labelled("plan", (Span(joined(_choices(plan), room)),))),
        (3, _labelled("speed", (Span(stream_speed(model, plan, room)),))),
    ]


def _labelled(label: str, line: Line) -> Line:
    return (Span(pad(label, _LABEL_COLUMNS), "label"), *line)


def trouble(model: ModelStatus, width: int) -> Block:
    """Why it failed; else why it is slower than it should be."""
    ails = model.health.message if model.health else None
    words = model.detail or ails
    if words is None:
        return []
    tone: Tone = "bad" if model.state == "failed" else "warn"
    return [(Span(text, tone),) for text in wrap(words, width)[:3]]


def _progress(model: ModelStatus, room: int) -> Line:
    """Of the weights; what comes behind them has no bar."""
    if is_all_read(model.progress_ratio):
        return (Span(joined((f"{MAKING_THE_CONTEXT} …", "all weights are read"), room)),)
    share = f" {numbers.percent(model.progress_ratio)}"
    return (*bar(model.progress_ratio, room - len(share)), Span(share))


def _choices(plan: PlanStatus) -> list[str]:
    return [
        plan.quant,
        f"{plan.n_parallel} × {numbers.count(plan.n_ctx_seq)}",
        f"KV {kv_types(plan)}",
        f"{plan.n_threads} threads",
        f"{plan.n_gpu_layers} layers on GPU" if plan.n_gpu_layers else "CPU only",
    ]


def kv_types(plan: PlanStatus) -> str:
    same = plan.kv_type_k == plan.kv_type_v
    return plan.kv_type_k if same else f"{plan.kv_type_k}/{plan.kv_type_v}"


def predicted_range(plan: PlanStatus) -> str:
    """ "31–40", of one stream: one run in ten is slower, one in ten faster."""
    low, high = plan.decode_tok_s_p10, plan.decode_tok_s_p90
    if low is None or high is None:
        return DASH
    if low >= 10:
        return f"{low:,.0f}–{high:,.0f}"
    return f"{low:.1f}–{high:.1f}"


def is_last(model: ModelStatus) -> bool:
    """Whether `stream_tok_s` is of a moment that has passed: no answer is alone at this one. With
    several its answer may be among them."""
    return model.n_running != 1 or not any(one.state == "decode" for one in model.sequences)


def stream_speed(model: ModelStatus, plan: PlanStatus, room: int) -> str:
    """What was measured of one stream beside what was predicted of one. The unit goes first where
    there is no room for it, then the prediction, which has a page of its own."""
    measured = model.stream_tok_s
    if measured is None or model.n_running > 1:
        figure, what = f"{predicted_range(plan)} tok/s predicted", "one stream"
        short = figure.replace(" tok/s", "")
    else:
        short = f"{'last ' if is_last(model) else ''}{numbers.rate(measured)}"
        figure, what = f"{short} of {predicted_range(plan)} tok/s", "measured of predicted"
        unitless = figure.removesuffix(" tok/s")
        short = unitless if len(unitless) <= room else f"{short} tok/s"
    return joined((figure if len(figure) <= room else short, what), room)


def _cells(model: ModelStatus, room: int) -> Line:
    full = numbers.ratio(model.n_cells_used, model.n_cells)
    text = f" {used_cells(model)}{pad(numbers.percent(full), 6, right=True)}"
    tone: Tone = "fill" if full is None or full < 0.9 else "warn"
    n_bar = room - len(text)
    return (*bar(full, n_bar, tone), Span(text)) if n_bar >= 4 else (Span(text.strip()),)


def used_cells(model: ModelStatus) -> str:
    """ "12.0k/32.8k"."""
    return f"{numbers.short_count(model.n_cells_used)}/{numbers.short_count(model.n_cells)}"


def _cache(model: ModelStatus) -> list[str]:
    hits = numbers.ratio(model.n_cached, model.n_prompt)
    of_all = f"{numbers.short_count(model.n_cached)} of {numbers.short_count(model.n_prompt)}"
    return [numbers.percent(hits), f"{of_all} tokens", f"{model.n_retained} retained"]


def _memory(plan: PlanStatus) -> list[str]:
    measured, predicted = plan.measured_bytes, plan.predicted_bytes
    told = [f"{format_bytes(plan.total_bytes)} planned", f"{format_bytes(measured)} llama.cpp's"]
    if measured is None or not predicted:
        return told
    return [*told, numbers.off_by(measured, predicted)]


def _process(model: ModelStatus) -> list[str]:
    return [
        f"pid {DASH if model.pid is None else model.pid}",
        f"{format_bytes(model.rss_bytes)} resident",
        f"loaded in {format_seconds(model.load_s)}",
    ]


def _energy(energy: EnergyStatus) -> list[str]:
    """Of all devices since the server began."""
    idle = numbers.ratio(energy.idle_j, energy.total_j)
    paid = [] if energy.cost is None else [f"{energy.cost:.2f} {energy.currency}"]
    return [
        numbers.joules_per_token(energy.j_per_token),
        numbers.joules(energy.total_j),
        *paid,
        f"{numbers.percent(idle)} idle",
    ]


def _other(model: ModelStatus, view: View) -> Line:
    return (Span(f"{model.name} "), *state_note(model, view))
