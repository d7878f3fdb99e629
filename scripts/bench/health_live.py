"""Whether a server's health is named truthfully: a light load, and each second its word on health
beside what /proc says of other programs.

    edgellm serve MODEL --ctx 2048 --parallel 2 &
    python scripts/bench/health_live.py [SECONDS] [URL]

Prints for how long each cause was named, and how long nothing but this server had computed for
twelve seconds: there an alarm is a false one. The model should write for some seconds at a time:
shorter answers are not judged. Linux; the server on this machine.
"""

import json
import sys
import threading
import time
import urllib.request
from collections import Counter, deque
from pathlib import Path
from typing import Any

_EVERY_S, _N_TOKENS = 14.0, 160
_CALM_S, _CALM_RATIO = 12, 0.2
_PROMPT = {"prompt": "Once upon a time", "max_tokens": _N_TOKENS, "ignore_eos": True}


def get(url: str) -> Any:
    with urllib.request.urlopen(f"{url}/edgellm/status", timeout=5) as answer:
        return json.load(answer)["models"][0]


def ask(url: str) -> None:
    body = json.dumps(_PROMPT).encode()
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/completions", body, head)
    with urllib.request.urlopen(request, timeout=300) as answer:
        answer.read()


def ticks(pid: int) -> tuple[int, int, int]:
    """Of all cores: idle, and all; and the worker's own."""
    all_cores = [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]
    own = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return all_cores[3] + all_cores[4], sum(all_cores), int(own[11]) + int(own[12])


def main(seconds: float, url: str) -> None:
    named: Counter[str] = Counter()
    others: deque[float] = deque(maxlen=_CALM_S)
    n_calm = n_false = 0
    before = ticks(get(url)["pid"])
    end_s, ask_s = time.monotonic() + seconds, 0.0
    while time.monotonic() < end_s:
        if time.monotonic() >= ask_s:
            threading.Thread(target=ask, args=(url,), daemon=True).start()
            ask_s = time.monotonic() + _EVERY_S
        time.sleep(1.0)
        model = get(url)
        now = ticks(model["pid"])
        idle, total, own = (one - other for one, other in zip(now, before, strict=True))
        before = now
        others.append(1 - (idle + own) / total)
        cause = model["health"]["cause"]
        named[cause or "ok"] += 1
        if len(others) == _CALM_S and max(others) < _CALM_RATIO:
            n_calm += 1
            n_false += cause is not None
    print(", ".join(f"{cause}: {n} s" for cause, n in named.most_common()))
    print(
        f"others below {_CALM_RATIO:.0%} for {_CALM_S} s: {n_calm} s, "
        f"of these with an alarm: {n_false} s"
    )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(
        float(arguments[0]) if arguments else 600.0,
        arguments[1] if len(arguments) > 1 else "http://127.0.0.1:8484",
    )
