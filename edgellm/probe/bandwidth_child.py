"""Measures how fast all cores together read memory; run as a program.

    python -m edgellm.probe.bandwidth_child THREADS BYTES BOOT_ID FOLDER

Reading is libc's memchr looking for a byte that isn't there: vectorised, nothing but reads (what
decoding does with weights), and ctypes lets go of the GIL. It reached what numpy's best
reduction and a dot product do, and needs neither. The best of several short windows counts: on a
shared machine single ones differ threefold, so it goes on until three of them agree. The result is
kept in FOLDER for this boot; one that was measured on a busy machine is measured again, up to three
times in all, and the best is kept.
"""

import ctypes
import json
import mmap
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from edgellm.files import write_whole
from edgellm.probe import child_output

_WINDOW_S, _MAX_S = 0.05, 0.45  # one is some dozen steps of every thread; all together
_AGREEING, _AGREE_RATIO = 3, 0.97  # so many of the best, the least of them so near to the first
_STEP_BYTES = 8 << 20  # between looks at the clock
MAX_MEASUREMENTS = 3


def kept_or_measured(n_threads: int, n_bytes: int, boot_id: str, folder: Path) -> dict[str, Any]:
    """The JSON that the program writes: bytes per second of `n_threads` threads that each read a
    buffer of `n_bytes`, whether the machine was busy, and how often it was measured this boot."""
    path = folder / "bandwidth.json"
    kept = _read(path, boot_id, n_threads)
    if kept and (not kept["busy"] or kept["n_measured"] >= MAX_MEASUREMENTS):
        return kept
    measured = {
        "boot_id": boot_id,
        "n_threads": n_threads,
        "busy": os.getloadavg()[0] > n_threads / 2,
        "bytes_s": max(_measure(n_threads, n_bytes), kept["bytes_s"] if kept else 0.0),
        "n_measured": 1 + (kept["n_measured"] if kept else 0),
    }
    if boot_id:
        _write(path, measured)
    return measured


def _measure(n_threads: int, n_bytes: int) -> float:
    """Bytes a second of the best window."""
    start = threading.Barrier(n_threads + 1)
    n_read = [0] * n_threads
    over = threading.Event()
    threads = [
        threading.Thread(target=_reader, args=(i, n_bytes, start, n_read, over), daemon=True)
        for i in range(n_threads)
    ]
    for thread in threads:
        thread.start()
    start.wait()
    rates: list[float] = []
    before, before_s = sum(n_read), time.perf_counter()
    stop_s = before_s + _MAX_S
    while before_s < stop_s and not are_agreed(rates):
        time.sleep(_WINDOW_S)
        now, now_s = sum(n_read), time.perf_counter()
        rates.append((now - before) / (now_s - before_s))
        before, before_s = now, now_s
    over.set()
    for thread in threads:
        thread.join()
    return max(rates)


def are_agreed(rates: list[float]) -> bool:
    """Whether the best of these windows is no chance."""
    best = sorted(rates, reverse=True)[:_AGREEING]
    return len(best) == _AGREEING and best[-1] >= _AGREE_RATIO * best[0]


def _reader(
    index: int, n_bytes: int, start: threading.Barrier, n_read: list[int], over: threading.Event
) -> None:
    libc = ctypes.CDLL(None)
    libc.memchr.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    libc.memchr.restype = ctypes.c_void_p
    memory = mmap.mmap(-1, n_bytes)
    first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.memset(first, 1, n_bytes)  # untouched pages are all the one page of zeros, in cache
    start.wait()
    while not over.is_set():
        for offset in range(0, n_bytes, _STEP_BYTES):
            step = min(_STEP_BYTES, n_bytes - offset)
            libc.memchr(first + offset, 0, step)
            n_read[index] += step


def _read(path: Path, boot_id: str, n_threads: int) -> dict[str, Any] | None:
    try:
        kept = json.loads(path.read_bytes())
        fits = kept["boot_id"] == boot_id and kept["n_threads"] == n_threads
        complete = kept["bytes_s"] > 0 and kept["n_measured"] > 0 and "busy" in kept
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none yet, or not ours: measured anew
    return dict(kept) if boot_id and fits and complete else None


def _write(path: Path, measured: dict[str, Any]) -> None:
    """A folder that can't be written costs the next call its second, nothing else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(measured).encode())
    except OSError as error:
        print(f"not kept: {error}", file=sys.stderr)  # noqa: T201 - a program's stderr


if __name__ == "__main__":
    threads, size, boot, kept_in = sys.argv[1:]
    child_output.answer(lambda: kept_or_measured(int(threads), int(size), boot, Path(kept_in)))
