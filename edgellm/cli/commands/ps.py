"""`edgellm ps` and `edgellm stop`: what runs here."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import completing, options
from edgellm.units import DASH, format_bytes, format_rate, format_seconds

if TYPE_CHECKING:
    from edgellm.cli.serving.find import Found
    from edgellm.status import ModelStatus, PlanStatus, Status

_HEADINGS = (
    "NAME", "STATE", "QUANT", "PROCESSOR", "CONTEXT", "MEMORY", "LLAMA.CPP'S",
    "TOK/S NOW",
)  # fmt: skip
_NO_MODEL = "  no model is served here, or none that your key may ask"
_MOST_KEYS = 5
_DROPPED_FIRST = ("QUANT", "LLAMA.CPP'S", "PROCESSOR")


def ps(as_json: options.AsJSON = False, host: options.Host = None) -> None:
    """Show the running servers and their models.

    MEMORY is all that the plan counted on, LLAMA.CPP'S what llama.cpp says it took of it, and how
    far that part was off; the rest is for drivers and the process itself. TOK/S NOW is what is
    written at this moment, a dash where nothing is; in brackets what the plan expects of one
    stream. A server that runs here and can't be asked is named below the table, with exit code 12.

    \b
      edgellm ps
      edgellm ps --json | jq '.[].models[].name'
      edgellm ps --host box:8484
    """
    from edgellm.cli.output import print_json
    from edgellm.cli.serving.find import look

    found = look(host)
    if as_json:
        print_json([status for _, status in found.answering])
    elif found.is_empty:
        print("no server is running here; start one: edgellm up, or edgellm serve MODEL")
    elif shown := "\n\n".join(_shown(found)):
        print(shown)
    found.check_silent()


def _shown(found: "Found") -> Iterator[str]:
    """Each server in lines of its own."""
    from edgellm.cli.output import row_columns
    from edgellm.tables import fitting

    for url, status in found.answering:
        head = f"{url}   pid {status.pid}   edgellm {status.version}"
        rows = fitting(
            _HEADINGS, [*_rows(status)], columns=row_columns(), may_go=_DROPPED_FIRST,
            right="CONTEXT,MEMORY,LLAMA.CPP'S", above=True,
        )  # fmt: skip
        yield "\n".join((head, rows if status.models else _NO_MODEL, *notes(status)))
    for server in found.stopping:
        yield f"{server.url}   pid {server.pid}   is stopping"


def stop(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Of several servers, the one with this model.",
            autocompletion=completing.here,
        ),
    ] = None,
    host: options.Host = None,
    everything: Annotated[bool, typer.Option("--all", help="Stop every server here.")] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for its end; 0: don't.", metavar="S")
    ] = 40.0,
) -> None:
    """Stop a running server.

    It finishes the answers that it has begun, then it ends. Exit code 12: none runs, or --all could
    not stop one, which it names. With --all it is no error that none runs.

    \b
      edgellm stop
      edgellm stop qwen3:8b
      edgellm stop --host 127.0.0.1:8485
      edgellm stop --all
    """
    from edgellm.cli.serving.ending import end_all
    from edgellm.cli.serving.find import look, only

    found = look(host)
    if not everything:
        there = f" --host {host}" if host else ""
        hint = f"edgellm ps{there} shows what runs" if model else ""
        one = only(found, model, hint=hint, or_all="; --all stops them all")
        found = replace(found, answering=(one,), silent=(), stopping=())
    if found.is_empty:
        print("no server is running here")
    ended, left = end_all(found, wait)
    for url in ended:
        print(f"stopped {url}" if wait else f"stopping {url}")
    replace(found, silent=(*found.silent, *left)).check_silent()


def _rows(status: "Status") -> Iterator[tuple[str, ...]]:
    for model in status.models:
        plan = model.plan
        yield (
            model.name + _kind(model),
            _state(model),
            plan.quant if plan else DASH,
            processor(model),
            f"{plan.n_parallel}×{plan.n_ctx_seq}" if plan else DASH,
            format_bytes(plan.total_bytes) if plan else DASH,
            _measured(plan) if plan else DASH,
            pace(model),
        )


def notes(status: "Status") -> Iterator[str]:
    """By which other names a model was told to answer, when it sleeps, and what is not as it
    should be."""
    from edgellm.cli.serving.find import short_forms

    for model in status.models:
        if given := [name for name in model.aliases if name not in short_forms(model.name)]:
            yield f"  {model.name}: answers to {', '.join(given)}, too"
        if model.sleeps_in_s is not None and model.state == "ready":
            left = format_seconds(model.sleeps_in_s)
            yield f"  {model.name}: sleeps in {left}, if nobody asks for it"
        if model.n_restarts:
            yield f"  {model.name}: its process died {model.n_restarts}×, and was started again"
        if model.detail:
            yield f"  {model.name}: {model.detail}"
        if model.health and model.health.message:
            yield f"  {model.name}: {model.health.message}"
    if status.held_up:
        yield f"  new requests wait: {status.held_up}"
    if shares := used_today(status):
        yield f"  today's tokens: {shares}; edgellm usage tells more"


def used_today(status: "Status") -> str:
    """ "anna 62%, ci 38%", the largest first; nothing where one key has used all of them."""
    using = sorted((one for one in status.keys if one.used_today), key=lambda k: -k.used_today)
    n_all = sum(one.used_today for one in using)
    if len(using) < 2:
        return ""
    shown = [f"{one.name} {one.used_today / n_all:.0%}" for one in using[:_MOST_KEYS]]
    more = len(using) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more else shown)


def processor(model: "ModelStatus") -> str:
    """As Ollama says it: "100% GPU", "48%/52% CPU/GPU"."""
    plan = model.plan
    total = plan and (plan.measured_bytes or plan.predicted_bytes)
    if not plan or not total:
        return DASH
    if plan.n_gpu_layers == 0:
        return "100% CPU"
    host = plan.shares[-1].measured or plan.shares[-1].predicted
    cpu_ratio = host.total_bytes / total
    percent = round(100 * cpu_ratio)
    return f"{percent}%/{100 - percent}% CPU/GPU" if percent else "100% GPU"


def _state(model: "ModelStatus") -> str:
    """Of the weights that are read, the share: what comes before and behind them has none."""
    from edgellm.status import MAKING_THE_CONTEXT, is_all_read

    if model.state in ("loading", "starting", "waking") and model.progress_ratio:
        share = f"{model.state} {model.progress_ratio:.0%}"
        return f"{MAKING_THE_CONTEXT} …" if is_all_read(model.progress_ratio) else share
    if model.state == "ready" and model.health and model.health.cause:
        return f"{model.health.state} ({model.health.cause})"
    return model.state


def pace(model: "ModelStatus") -> str:
    """ "34.5 (35)": now, and what is expected. What a past answer leaves is not now."""
    plan = model.plan
    if model.embedding:
        return DASH
    expected = plan and plan.decode_tok_s_p50
    now = format_rate(model.decode_tok_s if model.n_running else None, "")
    return f"{now} ({format_rate(expected, '')})" if expected else now


def _kind(model: "ModelStatus") -> str:
    if model.reranking:
        return " (reranking)"
    return " (embedding)" if model.embedding else ""


def _measured(plan: "PlanStatus") -> str:
    """ "5.9 GiB (+0.4%)": with how far the prediction was off."""
    measured, predicted = plan.measured_bytes, plan.predicted_bytes
    if not measured or not predicted:
        return format_bytes(measured)
    return f"{format_bytes(measured)} ({100 * (measured / predicted - 1):+z.1f}%)"
