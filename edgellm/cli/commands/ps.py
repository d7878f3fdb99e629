"""`edgellm ps` and `edgellm stop`: what runs here."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import completing, options
from edgellm.units import DASH, format_bytes, format_rate

if TYPE_CHECKING:
    from edgellm.status import ModelStatus, PlanStatus, Status

_HEADINGS = (
    "NAME", "STATE", "QUANT", "PROCESSOR", "CONTEXT", "PREDICTED", "MEASURED",
    "TOK/S NOW",
)  # fmt: skip


def ps(as_json: options.AsJSON = False) -> None:
    """Show the running servers and their models.

    PREDICTED is the memory that the plan counted on, MEASURED what llama.cpp says it took and how
    far the prediction was off; what drivers and the process itself take is in neither of them.
    TOK/S NOW is what is written at this moment, a dash where nothing is; in brackets what the plan
    expects of one stream.
    EDGELLM_HOST asks another server.

    \b
      edgellm ps
      edgellm ps --json | jq '.[].models[].name'
      EDGELLM_HOST=box:8484 edgellm ps
    """
    from edgellm.cli.output import print_json
    from edgellm.cli.serving.find import statuses
    from edgellm.tables import table

    found = statuses()
    if as_json:
        print_json([status for _, status in found])
        return
    if not found:
        print("no server is running here; start one: edgellm up, or edgellm serve MODEL")
        return
    for i, (url, status) in enumerate(found):
        print(("\n" if i else "") + f"{url}   pid {status.pid}   edgellm {status.version}")
        print(table(_HEADINGS, [*_rows(status)], right="CONTEXT,PREDICTED,MEASURED"))
        for line in notes(status):
            print(line)


def stop(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Of several servers, the one with this model.",
            autocompletion=completing.here,
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Stop every server here.")] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for its end; 0: don't.", metavar="S")
    ] = 40.0,
) -> None:
    """Stop a running server.

    It finishes the answers that it has begun, then it ends. Where none runs that is exit code 12,
    but 0 with --all: nothing is left running, as you asked.

    \b
      edgellm stop
      edgellm stop qwen3:8b
      edgellm stop --all
    """
    from edgellm.cli.serving.client import Client
    from edgellm.cli.serving.find import statuses, the_server

    found = (
        statuses()
        if everything
        else (the_server(model, hint="edgellm ps shows what runs" if model else ""),)
    )
    if not found:
        print("no server is running here")
    for url, _ in found:
        with Client(url) as client:
            client.shutdown()
    for url, status in found:
        _await_end(url, status.pid, wait)
        print(f"stopped {url}" if wait else f"stopping {url}")


def _await_end(url: str, pid: int, wait_s: float) -> None:
    """Until it no longer listens and, if its process is one of ours here, has ended."""
    import time

    from edgellm.cli.serving import state
    from edgellm.errors import NotServing

    deadline_s = time.monotonic() + wait_s
    while wait_s and any(server.pid == pid for server in state.running()):
        if time.monotonic() > deadline_s:
            raise NotServing(
                f"{url} is still ending after {wait_s:g} s", hint=f"insist: kill -9 {pid}"
            )
        time.sleep(0.05)


def _rows(status: "Status") -> Iterator[tuple[str, ...]]:
    for model in status.models:
        plan = model.plan
        yield (
            model.name + (" (embedding)" if model.embedding else ""),
            _state(model),
            plan.quant if plan else DASH,
            processor(model),
            f"{plan.n_parallel}×{plan.n_ctx_seq}" if plan else DASH,
            format_bytes(plan.predicted_bytes) if plan else DASH,
            _measured(plan) if plan else DASH,
            pace(model),
        )


def notes(status: "Status") -> Iterator[str]:
    """What is not as it should be, in words."""
    for model in status.models:
        if model.detail:
            yield f"  {model.name}: {model.detail}"
        if model.health and model.health.message:
            yield f"  {model.name}: {model.health.message}"
    if status.held_up:
        yield f"  new requests wait: {status.held_up}"


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
    if model.progress_ratio is not None and model.state in ("loading", "starting"):
        return f"{model.state} {model.progress_ratio:.0%}"
    if model.state == "ready" and model.health and model.health.cause:
        return f"{model.health.state} ({model.health.cause})"
    return model.state


def pace(model: "ModelStatus") -> str:
    """ "34.5 (35)": now, and what is expected. What a past answer leaves is not now."""
    plan = model.plan
    if model.embedding:
        return DASH
    expected = plan and plan.decode_tok_s_p50
    now = format_rate(model.decode_tok_s if model.n_running else None, "").strip()
    return f"{now} ({format_rate(expected, '').strip()})" if expected else now


def _measured(plan: "PlanStatus") -> str:
    """ "5.9 GiB (+0.4%)": with how far the prediction was off."""
    measured, predicted = plan.measured_bytes, plan.predicted_bytes
    if not measured or not predicted:
        return format_bytes(measured)
    return f"{format_bytes(measured)} ({100 * (measured / predicted - 1):+.1f}%)"
