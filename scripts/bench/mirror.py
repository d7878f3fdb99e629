"""How fast a mirror sends, and what it takes, beside Python's own file server.

    python scripts/bench/mirror.py [--gib 2] [--clients 8] [--repeats 3]

A file of so many GiB lies in a made-up cache. Each server is a process of its own on loopback; the
clients are curl, which throws away what comes. The two are measured in turn, first by one client,
then by several at once. Of the mirror the most memory that it ever had is told, too (VmHWM).
"""

import argparse
import contextlib
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from cli_runs import Home, wait_for
from mirror_runs import COMMIT, Cache, mirroring

from edgellm.units import GIB, MIB, format_bytes

REPO, FILE = "org/large-GGUF", "large-Q8_0.gguf"


def fetched_s(url: str, n_clients: int) -> float:
    """Until the last of them has it."""
    began_s = time.perf_counter()
    clients = [
        subprocess.Popen(("curl", "--fail", "-s", "-o", os.devnull, url)) for _ in range(n_clients)
    ]
    assert {client.wait() for client in clients} == {0}
    return time.perf_counter() - began_s


@contextlib.contextmanager
def pythons_own(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    server = subprocess.Popen(
        words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
        yield f"http://127.0.0.1:{port}/{FILE}"
    finally:
        server.terminate()
        server.wait()


def most_memory(pid: int) -> int | None:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return None
    return int(found[1]) << 10 if found else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gib", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        home = Home(Path(folder), Path(folder) / "cache")
        cache = Cache(Path(folder) / "hf" / "hub")
        cache.add(FILE, os.urandom(64 * MIB) * (given.gib * GIB // (64 * MIB)), repo=REPO)
        mirror = running.enter_context(mirroring(home))
        snapshot = cache.place(FILE, repo=REPO).parent
        urls = {
            "mirror": f"{mirror.url}/{REPO}/resolve/{COMMIT}/{FILE}",
            "http.server": running.enter_context(pythons_own(snapshot)),
        }
        for n_clients in (1, given.clients):
            runs = [
                {name: fetched_s(url, n_clients) for name, url in urls.items()}
                for _ in range(given.repeats)
            ]
            for name in urls:
                rates = [n_clients * given.gib * GIB / run[name] for run in runs]
                all_of_them = ", ".join(format_bytes(int(rate)) for rate in rates)
                median = format_bytes(int(statistics.median(rates)))
                print(f"{n_clients} at once, {name}: {median}/s  ({all_of_them})")
        print(f"the mirror's memory at most: {format_bytes(most_memory(mirror.process.pid))}")


if __name__ == "__main__":
    main()
