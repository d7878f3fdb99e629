"""A cache as huggingface_hub and edgellm leave it, and a hub that serves it over a socket."""

import asyncio
import contextlib
import hashlib
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
from cli_runs import EDGELLM, PATIENCE_S, Home, Live

from edgellm import resources
from edgellm.server.door.access import Access
from edgellm.server.hub.app import Download, create_hub
from edgellm.server.hub.digests import Digests
from edgellm.server.hub.sending import RateLimit
from edgellm.server.hub.shelf import Shelf
from edgellm.server.serve import Bind, serve

REPO = "org/demo-GGUF"
FILE = "demo-Q8_0.gguf"
COMMIT, OLDER = "a" * 40, "b" * 40


def demo() -> bytes:
    return resources.demo_model().read_bytes()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Cache:
    """`root` is what HF_HUB_CACHE names."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, repo: str = REPO) -> Path:
        return self.root / f"models--{repo.replace('/', '--')}"

    def add(
        self,
        path: str = FILE,
        data: bytes | None = None,
        *,
        repo: str = REPO,
        commit: str = COMMIT,
        ref: str | None = "main",
        by_git: bool = False,
    ) -> Path:
        """A blob, and the link to it; returns the link."""
        data = demo() if data is None else data
        blob = self.folder(repo) / "blobs" / (git_oid(data) if by_git else sha256(data))
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        place = self.place(path, repo=repo, commit=commit)
        place.symlink_to(os.path.relpath(blob, place.parent))
        if ref:
            self.name(ref, commit, repo=repo)
        return place

    def place(self, path: str = FILE, *, repo: str = REPO, commit: str = COMMIT) -> Path:
        place = self.folder(repo) / "snapshots" / commit / path
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def name(self, ref: str, commit: str, *, repo: str = REPO) -> None:
        path = self.folder(repo) / "refs" / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)

    def shelf(self) -> Shelf:
        return Shelf(self.root, Digests())


class LiveHub:
    """On a thread of its own. `ended` are the downloads that it has told of."""

    def __init__(self, cache: Cache, access: Access, limit: RateLimit | None) -> None:
        self.ended: list[Download] = []
        self.refused: list[Exception] = []
        self.app = create_hub(
            cache.shelf(),
            access,
            limit=limit,
            on_ended=self._on_ended,
            on_refused=self.refused.append,
        )
        self.url = ""
        self._told = threading.Condition()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            await serve(self.app, Bind(port=0), on_started=self._on_started, grace_s=1.0)
        finally:
            self._started.set()

    def _on_started(self, url: str) -> None:
        self.url = url
        self._started.set()

    def _on_ended(self, download: Download) -> None:
        with self._told:
            self.ended.append(download)
            self._told.notify_all()

    def ended_after(self, n: int) -> list[Download]:
        """When there are so many."""
        with self._told:
            assert self._told.wait_for(lambda: len(self.ended) >= n, PATIENCE_S), self.ended
            return [*self.ended]

    def start(self) -> None:
        self._thread.start()
        self._started.wait(PATIENCE_S)
        assert self.url, "the hub did not start"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self.app.state.gateway.stopping.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the hub did not stop"

    def client(self, **options: object) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=PATIENCE_S, trust_env=False, **options)


@contextlib.contextmanager
def live_hub(
    cache: Cache, access: Access | None = None, limit: RateLimit | None = None
) -> Iterator[LiveHub]:
    live = LiveHub(cache, access or Access(), limit)
    live.start()
    try:
        yield live
    finally:
        live.stop()


@contextlib.contextmanager
def mirroring(home: Home, *args: str) -> Iterator[Live]:
    """`edgellm mirror` in a process of its own, until the block ends."""
    process = subprocess.Popen(
        (*EDGELLM, "mirror", "--port", "0", *args),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=home.env,
        cwd=home.folder,
    )
    assert process.stdout
    assert process.stderr
    said: list[str] = []
    listening = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)
    listening.start()
    try:
        told = []
        while "edgellm pull ORG/REPO" not in "".join(told):
            line = process.stdout.readline()
            assert line, f"it ended with {process.wait()}: {''.join(said)}"
            told.append(line)
        found = re.search(r"at (\S+)", "".join(told))
        assert found
        yield Live(process, found[1], "".join(told), said)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=PATIENCE_S)
        listening.join(timeout=5)
        process.stdout.close()
        process.stderr.close()
