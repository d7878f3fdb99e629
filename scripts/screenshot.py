"""Draws docs/images/top.svg: the dashboard, of a live server or of a sample that says so.

scripts/screenshot.py                                    the bundled sample
scripts/screenshot.py --url http://127.0.0.1:8484        a live server, watched for a minute
scripts/screenshot.py --png                              and a PNG beside it, by rsvg-convert
"""

import argparse
import asyncio
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx2
from portable_svg import portable

from edgellm import status
from edgellm.status import (
    DeviceStatus,
    MemoryParts,
    ModelStatus,
    PlanStatus,
    SequenceStatus,
    ShareStatus,
    Status,
)
from edgellm.tui.app import TopApp

_GIB = 1 << 30
_IMAGES = Path(__file__).parent.parent / "docs" / "images"
_LOG = (
    "load_tensors: offloaded 41/41 layers to GPU",
    "llama_kv_cache: size = 2720.00 MiB ( 32768 cells,  40 layers,  4/4 seqs)",
    "sched_reserve: graph nodes = 1287, graph splits = 2",
    "ready: Qwen3-14B-Q4_K_M.gguf on CUDA0, loaded in 4.8 s",
    "request 118: 1,536 of 1,810 prompt tokens came from the cache",
    "request 121: 2,048 of 2,204 prompt tokens came from the cache",
)


def sample(at_s: int) -> Status:
    """An invented tower at one second of two minutes: plausible, and the same each time."""
    wave = math.sin(at_s / 7) + 0.5 * math.sin(at_s / 2.3)
    busy = 0.0 if 55 < at_s < 68 else 1.0
    decode = (118 + 14 * wave) * busy or None
    prefill = 1900 + 420 * math.cos(at_s / 3) if at_s % 23 < 7 and busy else None
    return Status(
        version="0.1.0",
        pid=4211,
        url="http://127.0.0.1:8484",
        uptime_s=11_520.0 + at_s,
        models=(_model(decode, prefill), _EMBEDDER),
        devices=_devices(wave, busy),
        log=_LOG,
    )


_PLAN = PlanStatus(
    file="Qwen3-14B-Q4_K_M.gguf",
    quant="Q4_K_M",
    n_ctx=32_768,
    n_ctx_seq=8_192,
    n_parallel=4,
    kv_type_k="q8_0",
    kv_type_v="q8_0",
    n_threads=8,
    n_gpu_layers=41,
    shares=(
        ShareStatus(
            device_id="gpu",
            n_layers=41,
            predicted=MemoryParts(weight_bytes=int(8.4 * _GIB), kv_bytes=int(3.5 * _GIB)),
            measured=MemoryParts(weight_bytes=int(8.4 * _GIB), kv_bytes=int(3.3 * _GIB)),
        ),
        ShareStatus(
            device_id="cpu",
            predicted=MemoryParts(weight_bytes=int(0.7 * _GIB)),
            measured=MemoryParts(weight_bytes=int(0.7 * _GIB)),
        ),
    ),
    decode_tok_s_p10=52.0,
    decode_tok_s_p50=58.0,
    decode_tok_s_p90=63.0,
)
_EMBEDDER = ModelStatus(name="nomic-embed-text", state="ready", embedding=True)


def _model(decode: float | None, prefill: float | None) -> ModelStatus:
    return ModelStatus(
        name="qwen3:14b",
        state="ready",
        pid=4220,
        rss_bytes=int(1.3 * _GIB),
        load_s=4.8,
        decode_tok_s=decode,
        prefill_tok_s=prefill,
        n_waiting=1,
        n_running=4,
        n_retained=6,
        n_cells=32_768,
        n_cells_used=14_310,
        n_decoded=81_204,
        n_prompt=201_330,
        n_cached=148_410,
        sequences=(
            _sequence(118, "decode", 1810, 2214, 404, 12.1),
            _sequence(119, "decode", 940, 1210, 270, 8.3),
            _sequence(120, "decode", 3120, 3302, 182, 5.9),
            _sequence(121, "prefill", 2204, 1536, 0, 0.6),
            _sequence(122, "waiting", 2204, 0, 0, 0.2),
        ),
        plan=_PLAN,
    )


def _sequence(
    request_id: int, state: str, n_prompt: int, n_computed: int, n_output: int, age_s: float
) -> SequenceStatus:
    return SequenceStatus(
        request_id=request_id,
        state=state,
        n_prompt=n_prompt,
        n_computed=n_computed,
        n_output=n_output,
        age_s=age_s,
    )


def _devices(wave: float, busy: float) -> tuple[DeviceStatus, ...]:
    return (
        DeviceStatus(
            id="gpu",
            name="NVIDIA GeForce RTX 4090",
            backend="cuda",
            total_bytes=24 * _GIB,
            used_bytes=int(12.6 * _GIB),
            busy_ratio=0.02 + busy * (0.86 + 0.08 * wave),
            temperature_c=66 + 2 * wave,
            power_w=74 + busy * (240 + 25 * wave),
            power_limit_w=450.0,
            clock_hz=2.61e9,
        ),
        DeviceStatus(
            id="cpu",
            name="AMD Ryzen 9 7900X 12-Core Processor",
            backend="cpu",
            total_bytes=64 * _GIB,
            used_bytes=int(9.4 * _GIB),
            busy_ratio=0.05 + busy * (0.12 + 0.04 * wave),
            temperature_c=58.0,
            clock_hz=4.71e9,
        ),
    )


async def picture(url: str | None, columns: int, rows: int, watch_s: int) -> str:
    """The screen as SVG."""
    if url:
        app = TopApp(url)
        async with app.run_test(size=(columns, rows)) as pilot:
            await pilot.pause(watch_s)
            return app.export_screenshot(title=f"edgellm top – {url}")
    newest = status.encode(sample(0))
    answering = httpx2.MockTransport(lambda _: httpx2.Response(200, content=newest))
    app = TopApp("http://127.0.0.1:8484", interval_s=3600, transport=answering)
    async with app.run_test(size=(columns, rows)) as pilot:
        await pilot.pause()
        for at_s in range(120):
            app.view = app.view.seen(sample(at_s))
        app.view = replace(app.view, interval_s=1.0)
        await pilot.pause()
        return app.export_screenshot(title="edgellm top – sample data")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="a live server; without, the bundled sample")
    parser.add_argument("--columns", type=int, default=120)
    parser.add_argument("--rows", type=int, default=36)
    parser.add_argument("--watch", type=int, default=60, metavar="SECONDS", help="with --url")
    parser.add_argument("--output", type=Path, default=_IMAGES / "top.svg")
    parser.add_argument("--png", action="store_true", help="needs rsvg-convert")
    options = parser.parse_args()
    svg = asyncio.run(picture(options.url, options.columns, options.rows, options.watch))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(portable(svg))
    print(options.output)
    if options.png:
        converter = shutil.which("rsvg-convert")
        if converter is None:
            sys.exit("no rsvg-convert here: Debian and Ubuntu have it in librsvg2-bin")
        target = options.output.with_suffix(".png")
        subprocess.run([converter, "-w", "1600", "-o", target, options.output], check=True)
        print(target)


if __name__ == "__main__":
    main()
