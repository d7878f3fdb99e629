"""Whether a server's health is named truthfully: a light load, and each second its word on health
beside what /proc says of other programs. Then its worker is held up, and that has to be named.

    edgellm serve MODEL --ctx 2048 --parallel 2 &
    python scripts/bench/health_live.py [SECONDS] [URL]

Prints for how long each cause was named, for how long nothing but this server had computed for
fifteen seconds (there an alarm is a false one), and after how long a worker that is stopped for
three quarters of each second was called slow.

Ends with 1 where an alarm was false or the worker's hold-up was not named within ten seconds, and
with 2 where too little was seen to say so: the machine has to be calm for 80 % of the time, and the
model has to write for a quarter of it, some seconds at a time; shorter answers are not judged.
Linux; the server on this machine, and of this user.
"""

import json
import os
import signal
import sys
import threading
import time
import urllib.request
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_EVERY_S, _N_TOKENS = 14.0, 320
# A true alarm ends within 12 s of its cause: four looks, three seconds to the next, five after it.
_CALM_S, _CALM_RATIO = 15, 0.2
_LEAST_CALM, _LEAST_WRITING = 0.8, 0.25  # of the time
_HELD_S, _NAMED_S = 25.0, 10.0
_STOPPED_S, _GOING_S = 0.75, 0.25


def get(url: str) -> Any:
    with urllib.request.urlopen(f"{url}/edgellm/status", timeout=5) as answer:
        return json.load(answer)["models"][0]


def ask(url: str, n_tokens: int = _N_TOKENS) -> None:
    prompt = {"prompt": "Once upon a time", "max_tokens": n_tokens, "ignore_eos": True}
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/completions", json.dumps(prompt).encode(), head)
    with urllib.request.urlopen(request, timeout=300) as answer:
        answer.read()


def asking(url: str, n_tokens: int = _N_TOKENS) -> threading.Thread:
    thread = threading.Thread(target=ask, args=(url, n_tokens), daemon=True)
    thread.start()
    return thread


def ticks(pid: int) -> tuple[int, int, int]:
    """Of all cores: idle, and all; and the worker's own."""
    all_cores = [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]
    own = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return all_cores[3] + all_cores[4], sum(all_cores), int(own[11]) + int(own[12])


@dataclass(slots=True)
class Seen:
    """A second each."""

    named: Counter[str] = field(default_factory=Counter)
    n: int = 0
    n_writing: int = 0
    n_calm: int = 0
    n_false: int = 0


def watch(seconds: float, url: str) -> Seen:
    seen, others = Seen(), deque[float](maxlen=_CALM_S)
    before = ticks(get(url)["pid"])
    end_s, ask_s = time.monotonic() + seconds, 0.0
    while time.monotonic() < end_s:
        if time.monotonic() >= ask_s:
            asking(url)
            ask_s = time.monotonic() + _EVERY_S
        time.sleep(1.0)
        model = get(url)
        now = ticks(model["pid"])
        idle, total, own = (one - other for one, other in zip(now, before, strict=True))
        before = now
        others.append(1 - (idle + own) / total)
        cause = model["health"]["cause"]
        seen.n += 1
        seen.named[cause or "ok"] += 1
        seen.n_writing += bool(model["sequences"])
        if len(others) == _CALM_S and max(others) < _CALM_RATIO:
            seen.n_calm += 1
            seen.n_false += cause is not None
    return seen


def held_up(url: str) -> tuple[str | None, float]:
    """What a worker's hold-up is called, and after how many seconds of it."""
    pid = get(url)["pid"]
    answer = asking(url, 2 * _N_TOKENS)
    while not get(url)["sequences"]:
        time.sleep(0.1)
    time.sleep(5.0)  # as fast as ever, at first
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(_STOPPED_S)
            os.kill(pid, signal.SIGCONT)
            time.sleep(_GOING_S)

    holding = threading.Thread(target=hold)
    began_s = time.monotonic()
    holding.start()
    try:
        cause = None
        while cause is None and time.monotonic() < began_s + _HELD_S and answer.is_alive():
            time.sleep(0.1)
            cause = get(url)["health"]["cause"]
        return cause, time.monotonic() - began_s
    finally:
        over.set()
        holding.join()


def main(seconds: float, url: str) -> int:
    seen = watch(seconds, url)
    print(", ".join(f"{cause}: {n} s" for cause, n in seen.named.most_common()))
    print(
        f"{seen.n} s, it wrote in {seen.n_writing} of them; others below {_CALM_RATIO:.0%} for "
        f"{_CALM_S} s: {seen.n_calm} s, of these with an alarm: {seen.n_false} s",
        flush=True,
    )
    cause, after_s = held_up(url)
    print(f"held up: named {cause} after {after_s:.1f} s")
    if seen.n_false or cause is None or after_s > _NAMED_S:
        return 1
    judged = seen.n - _CALM_S
    enough = seen.n_calm >= _LEAST_CALM * judged and seen.n_writing >= _LEAST_WRITING * seen.n
    if not enough:
        print("too little was seen to say that there is no false alarm")
    return 0 if enough else 2


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(
        main(
            float(arguments[0]) if arguments else 600.0,
            arguments[1] if len(arguments) > 1 else "http://127.0.0.1:8484",
        )
    )
