"""What the dashboard costs: CPU time of `edgellm top` in a real terminal, against a fake server.

    python scripts/bench/tui_cost.py [--seconds 30] [--columns 120] [--rows 40]

Two loads, each in a tmux window of its own: an idle machine with one device, and eight devices
with 32 sequences whose every figure changes each second. The CPU time is read from /proc, user
plus system, after five seconds of warm-up. Linux, and tmux must be installed.
"""

import argparse
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from edgellm import status
from edgellm.status import DeviceStatus, ModelStatus, PlanStatus, SequenceStatus, Status

_GIB = 1 << 30
_WARM_UP_S = 5.0
_TARGETS_PERCENT = {"idle": 3.0, "busy": 6.0}
_PROGRAM = "from edgellm.tui.app import run_top; run_top({url!r})"

_PLAN = PlanStatus(
    file="model.gguf", quant="Q4_K_M", n_ctx=262_144, n_ctx_seq=8_192, n_parallel=32,
    kv_type_k="f16", kv_type_v="f16", n_threads=8, n_gpu_layers=81,
)  # fmt: skip

Load = Callable[[float], Status]  # seconds since the start


def idle(at_s: float) -> Status:
    """Nothing runs: only the clock and the sensors' noise."""
    return _status(at_s, n_devices=1, sequences=(), tok_s=None, noise=0.01)


def busy(at_s: float) -> Status:
    sequences = tuple(
        SequenceStatus(
            request_id=i,
            state="decode" if i < 20 else "prefill" if i < 24 else "waiting",
            n_prompt=1000 + i,
            n_computed=1000 + i + int(30 * at_s) if i < 20 else int(50 * at_s) if i < 24 else 0,
            n_output=int(30 * at_s) if i < 20 else 0,
            age_s=at_s + i,
        )
        for i in range(32)
    )
    return _status(at_s, n_devices=8, sequences=sequences, tok_s=600.0, noise=0.3)


def _status(
    at_s: float,
    *,
    n_devices: int,
    sequences: tuple[SequenceStatus, ...],
    tok_s: float | None,
    noise: float,
) -> Status:
    n_lines = int(at_s) if sequences else 0
    return Status(
        version="0.1.0",
        pid=1,
        url="",
        uptime_s=at_s,
        models=(_model(sequences, tok_s, math.sin(at_s)),),
        devices=tuple(_device(i, noise * math.sin(at_s + i)) for i in range(n_devices)),
        log=tuple(f"line {i} of the log" for i in range(max(n_lines - 20, 0), n_lines + 1)),
    )


def _model(sequences: tuple[SequenceStatus, ...], tok_s: float | None, wave: float) -> ModelStatus:
    n_waiting = sum(1 for one in sequences if one.state == "waiting")
    return ModelStatus(
        name="model",
        state="ready",
        decode_tok_s=None if tok_s is None else tok_s * (1 + 0.2 * wave),
        prefill_tok_s=None if tok_s is None else tok_s * (3 + wave),
        n_running=len(sequences) - n_waiting,
        n_waiting=n_waiting,
        n_cells=262_144,
        n_cells_used=sum(one.n_computed for one in sequences),
        sequences=sequences,
        plan=_PLAN,
    )


def _device(i: int, wave: float) -> DeviceStatus:
    return DeviceStatus(
        id=f"gpu{i}",
        name="NVIDIA H100 80GB HBM3",
        backend="cuda",
        total_bytes=80 * _GIB,
        used_bytes=int((60 + 5 * wave) * _GIB),
        busy_ratio=0.5 + wave,
        temperature_c=60 + 10 * wave,
        power_w=400 + 100 * wave,
        power_limit_w=700.0,
        clock_hz=1.98e9,
    )


def serve(load: Load) -> ThreadingHTTPServer:
    """On a free port of loopback, in a thread of its own."""
    began_s = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = status.encode(load(time.monotonic() - began_s))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: this terminal is for the figures."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def cpu_s(pid: int) -> float:
    """User and system time, from fields 14 and 15 of proc(5)'s stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(load: Load, seconds: float, columns: int, rows: int) -> tuple[float, str]:
    """Percent of one core, and the screen at the end."""
    server = serve(load)
    with tempfile.TemporaryDirectory() as folder:
        tmux = ["tmux", "-S", f"{folder}/tmux", "-f", "/dev/null"]
        program = _PROGRAM.format(url=f"http://127.0.0.1:{server.server_port}")
        python = shlex.join([sys.executable, "-c", program])
        command = f"exec env -u COLUMNS -u LINES {python}"  # the size is the pane's
        size = ["-x", str(columns), "-y", str(rows)]
        subprocess.run([*tmux, "new-session", "-d", *size, command], check=True)
        try:
            pid = int(_output([*tmux, "display-message", "-p", "#{pane_pid}"]))
            time.sleep(_WARM_UP_S)
            began_s, used_s = time.monotonic(), cpu_s(pid)
            time.sleep(seconds)
            percent = 100 * (cpu_s(pid) - used_s) / (time.monotonic() - began_s)
            return percent, _output([*tmux, "capture-pane", "-p"])
        finally:
            subprocess.run([*tmux, "kill-server"], check=False)
            server.shutdown()
            server.server_close()


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--columns", type=int, default=120)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--show", action="store_true", help="print the last screen as well")
    options = parser.parse_args()
    if shutil.which("tmux") is None:
        sys.exit("tmux is not installed, and without a terminal nothing is drawn")
    for name, load in (("idle", idle), ("busy", busy)):
        percent, screen = measure(load, options.seconds, options.columns, options.rows)
        target = _TARGETS_PERCENT[name]
        print(f"{name}: {percent:.1f} % of a core (target {target:.0f} %)")
        if options.show:
            print(screen)


if __name__ == "__main__":
    main()
