"""What TLS and the sandbox cost: the same model served plainly, by TLS, and without a sandbox.

    python scripts/bench/protection.py CERT.pem KEY.pem [MODEL.gguf] [ROUNDS]

All in turn, again and again, so that a busy neighbour meets all alike; of each figure the best one
(neighbours only take), and its ratio to that of the plain server in its sandbox. An answer has 256
tokens, and is streamed; one thread computes, since several spin while they wait for one another.
"""

import contextlib
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2

from edgellm import resources
from edgellm.server.door.certificate import load_certificate, trusting

N_TOKENS, N_ANSWERS = 256, 8
BODY = {
    "prompt": "Once upon a time", "max_tokens": N_TOKENS, "stream": True, "temperature": 0,
    "ignore_eos": True, "model": "",
}  # fmt: skip
_READY = re.compile(r"^  at (https?://\S+)", re.MULTILINE)


class Figures(NamedTuple):
    load_s: float  # of the model, as its worker tells
    first_token_s: float
    tok_s: float
    connection_s: float  # a new one, and a word
    gateway_cpu_s: float  # for all answers
    loading_cpu_s: float  # of the worker, from its start until it is ready
    worker_cpu_s: float  # for all answers


def main() -> None:
    cert, key, *rest = sys.argv[1:]
    model = rest[0] if rest else str(resources.demo_model())
    rounds = int(rest[1]) if len(rest) > 1 else 7
    flags = ("--ssl-cert-file", cert, "--ssl-key-file", key)
    kinds = {"plain": ((), "auto"), "TLS": (flags, "auto"), "no sandbox": ((), "off")}
    own = trusting(load_certificate(Path(cert), Path(key)).own)
    found: dict[str, list[Figures]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, (extra, mode) in kinds.items():
            with (
                served(model, extra, mode) as (process, url),
                httpx2.Client(verify=own, timeout=120) as client,
            ):
                found[name].append(measured(process, client, url, own))
    best = {name: best_of(rows) for name, rows in found.items()}
    for name, row in best.items():
        ratios = (a / b for a, b in zip(row, best["plain"], strict=True))
        each = zip(Figures._fields, row, ratios, strict=True)
        print(f"{name:12}", "  ".join(f"{what} {value:.4g} ({r:.2f})" for what, value, r in each))


def best_of(rows: list[Figures]) -> Figures:
    """The highest speed, and the least of all that is time."""
    columns = zip(Figures._fields, zip(*rows, strict=True), strict=True)
    return Figures(*(max(row) if name == "tok_s" else min(row) for name, row in columns))


@contextlib.contextmanager
def served(
    model: str, flags: tuple[str, ...], mode: str
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    process = subprocess.Popen(
        [
            sys.executable, "-m", "edgellm", "serve", model,
            "--port", "0", "--offline", "--threads", "1", *flags,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "EDGELLM_SANDBOX": mode},
    )  # fmt: skip
    assert process.stdout
    said = ""
    while not (ready := _READY.search(said)):
        said += process.stdout.readline()
    try:
        yield process, ready[1]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def measured(
    process: "subprocess.Popen[str]", client: httpx2.Client, url: str, verify: object
) -> Figures:
    (model,) = client.get(f"{url}/edgellm/status").json()["models"]
    worker, loading_s = model["pid"], cpu_s(model["pid"])
    streamed(client, url)  # the first one warms up
    before_s = cpu_s(process.pid), cpu_s(worker)
    answers = [streamed(client, url) for _ in range(N_ANSWERS)]
    took_s = cpu_s(process.pid) - before_s[0], cpu_s(worker) - before_s[1]
    connection_s = statistics.median(connected(url, verify) for _ in range(N_ANSWERS))
    first_s, tok_s = (statistics.median(one) for one in zip(*answers, strict=True))
    return Figures(model["load_s"], first_s, tok_s, connection_s, took_s[0], loading_s, took_s[1])


def streamed(client: httpx2.Client, url: str) -> tuple[float, float]:
    times = [time.perf_counter()]
    with client.stream("POST", f"{url}/v1/completions", json=BODY) as answer:
        times += [time.perf_counter() for line in answer.iter_lines() if line.startswith("data: {")]
    return times[1] - times[0], (N_TOKENS - 1) / (times[-1] - times[1])


def connected(url: str, verify: object) -> float:
    with httpx2.Client(verify=verify) as client:  # type: ignore[arg-type]
        begun_s = time.perf_counter()
        client.get(f"{url}/health")
        return time.perf_counter() - begun_s


def cpu_s(pid: int) -> float:
    """Of one process alone, all its threads (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
