"""Statuses for the TUI's tests: an ordinary machine, a big one, one that knows nothing."""

from dataclasses import replace

import httpx2
from msgspec import structs

from edgellm import status
from edgellm.status import (
    DeviceStatus,
    Download,
    EnergyStatus,
    MemoryParts,
    ModelStatus,
    PlanStatus,
    SequenceStatus,
    ShareStatus,
    Status,
)
from edgellm.tui.app import TopApp
from edgellm.tui.view import View

URL = "http://127.0.0.1:8484"
GIB = 1 << 30


def sequence(request_id=1, state="decode", n_prompt=100, n_computed=120, n_output=20, age_s=1.5):
    return SequenceStatus(
        request_id=request_id,
        state=state,
        n_prompt=n_prompt,
        n_computed=n_computed,
        n_output=n_output,
        age_s=age_s,
    )


def share(device_id, predicted, measured):
    return ShareStatus(
        device_id=device_id,
        predicted=MemoryParts(weight_bytes=predicted),
        measured=None if measured is None else MemoryParts(weight_bytes=measured),
    )


def plan(**changes):
    facts = {
        "file": "/models/Qwen3-8B-Q4_K_M.gguf",
        "quant": "Q4_K_M",
        "n_ctx": 32_768,
        "n_ctx_seq": 8_192,
        "n_parallel": 4,
        "kv_type_k": "q8_0",
        "kv_type_v": "q8_0",
        "n_threads": 8,
        "n_gpu_layers": 37,
        "shares": (
            share("gpu0", 7 * GIB, 7 * GIB - (300 << 20)),
            share("cpu", GIB // 2, GIB // 2),
        ),
        "decode_tok_s_p10": 31.0,
        "decode_tok_s_p50": 35.0,
        "decode_tok_s_p90": 40.0,
        "reasons": ("Q5_K_M needs 9.1 GiB, 8.0 GiB are free",),
    }
    return PlanStatus(**{**facts, **changes})


def model(**changes):
    facts = {
        "name": "qwen3:8b",
        "state": "ready",
        "pid": 4220,
        "rss_bytes": 900 << 20,
        "load_s": 3.2,
        "decode_tok_s": 34.5,
        "prefill_tok_s": 1210.0,
        "stream_tok_s": 34.5,
        "n_running": 1,
        "n_retained": 2,
        "n_cells": 32_768,
        "n_cells_used": 12_034,
        "n_prompt": 20_100,
        "n_cached": 12_300,
        "sequences": (sequence(),),
        "plan": plan(),
    }
    return ModelStatus(**{**facts, **changes})


def device(**changes):
    facts = {
        "id": "gpu0",
        "name": "NVIDIA GeForce RTX 4060",
        "backend": "cuda",
        "total_bytes": 8 * GIB,
        "used_bytes": 7 * GIB,
        "busy_ratio": 0.87,
        "temperature_c": 71.0,
        "power_w": 98.0,
        "power_limit_w": 115.0,
        "clock_hz": 2.52e9,
        "sees_throttle": True,
        "hotspot_c": 83.0,
        "fan_ratio": 0.45,
        "n_lanes": 16,
    }
    return DeviceStatus(**{**facts, **changes})


CPU = device(
    id="cpu",
    name="AMD Ryzen 7 5800X",
    backend="cpu",
    total_bytes=32 * GIB,
    used_bytes=9 * GIB,
    busy_ratio=0.12,
    temperature_c=55.0,
    power_w=None,
    power_limit_w=None,
    clock_hz=4.4e9,
    hotspot_c=None,
    fan_ratio=None,
    n_lanes=None,
)


def ordinary(**changes):
    facts = {
        "version": "0.1.0",
        "pid": 4211,
        "url": URL,
        "uptime_s": 11_520.0,
        "models": (model(),),
        "devices": (device(), CPU),
        "energy": EnergyStatus(
            total_j=412_000.0,
            idle_j=90_000.0,
            requests_j=322_000.0,
            power_w=98.0,
            j_per_token=2.91,
            cost=0.03,
            currency="EUR",
        ),
        "log": ("load_tensors: offloaded 37/37 layers to GPU", "ready in 3.2 s"),
    }
    return Status(**{**facts, **changes})


def big():
    """Eight devices, 32 requests."""
    states = ("decode",) * 20 + ("prefill",) * 4 + ("waiting",) * 8
    sequences = tuple(
        sequence(
            100 + i,
            state,
            n_prompt=1000 + 37 * i,
            n_computed={"decode": 1400, "prefill": 600, "waiting": 0}[state] + i,
            n_output=i if state == "decode" else 0,
        )
        for i, state in enumerate(states)
    )
    devices = tuple(
        device(id=f"gpu{i}", name="NVIDIA H100 80GB HBM3", busy_ratio=i / 8) for i in range(7)
    )
    hot = device(id="gpu7", name="NVIDIA H100 80GB HBM3", temperature_c=91.0, throttle=("thermal",))
    return ordinary(
        models=(model(n_running=24, n_waiting=8, sequences=sequences),), devices=(*devices, hot)
    )


def unknown():
    """All that may be null is null."""
    bare = PlanStatus(
        file="model.gguf",
        quant="Q4_0",
        n_ctx=4096,
        n_ctx_seq=4096,
        n_parallel=1,
        kv_type_k="f16",
        kv_type_v="f16",
        n_threads=4,
        n_gpu_layers=0,
    )
    return ordinary(
        models=(
            ModelStatus(
                name="model", state="ready", plan=bare, n_running=1, sequences=(sequence(),)
            ),
        ),
        devices=(DeviceStatus(id="cpu", name="Some CPU", backend="cpu"),),
        energy=None,
        log=(),
    )


def downloading(**changes):
    facts = {
        "name": "qwen3:8b",
        "done_bytes": 5 * GIB // 4,
        "total_bytes": 5 * GIB,
        "rate_bytes_s": float(52 << 20),
    }
    return Download(**{**facts, **changes})


def seen(*statuses, url=URL):
    """The view after these answers."""
    view = View(url)
    for one in statuses:
        view = view.seen(one)
    return view


def text(block):
    return "\n".join("".join(span.text for span in line) for line in block)


def pictured(newest, *, n_answers=60, problem=None, **options):
    """An app for a picture: it hears one answer, and then holds still."""
    body = status.encode(newest)
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=body))
    app = TopApp(URL, interval_s=3600, transport=transport, **options)

    async def prepare(pilot):
        await pilot.pause()
        view = seen(*(_moment(newest, i) for i in range(n_answers)))
        app.view = replace(view, problem=problem)
        await pilot.pause()

    return app, prepare


def _moment(newest, i):
    """The same status with other speeds: a history with a hill, a gap and a plain."""
    models = tuple(
        structs.replace(one, decode_tok_s=_hill(one.decode_tok_s, i)) for one in newest.models
    )
    return structs.replace(newest, models=models)


def _hill(tok_s, i):
    if tok_s is None or i == 59:
        return tok_s
    return None if 30 <= i < 36 else tok_s * (0.4 + 0.6 * (i % 20) / 19)
