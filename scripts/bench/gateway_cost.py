"""CPU time of the gateway's thread: of a step's tokens from the worker's frame to the sockets, and
of a whole request.

    python scripts/bench/gateway_cost.py [--steps 300] [--requests 200]
    PYTHONPATH=OTHER python scripts/bench/gateway_cost.py    # of another checkout, to compare

The server is real, on a socket; frames come by a real pipe. Of the thread alone, so that neither
the client nor a busy machine shows; once with the caches as the step before left them, and once as
a model leaves them, after its weights were read on the same core.
"""

import argparse
import asyncio
import os
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np

from edgellm.chat.events import Timings
from edgellm.keys import KeySettings, joined
from edgellm.runner.adapters import AdapterList
from edgellm.runner.frames import encode_frame
from edgellm.runner.inflight import Inflight
from edgellm.runner.messages import Delta, Done, FromWorker
from edgellm.runner.receiver import Receiver
from edgellm.selector.plan import Placement, Plan, Share
from edgellm.server.app import create_app
from edgellm.server.door.access import Access
from edgellm.server.door.terms import Terms
from edgellm.server.serve import Bind, serve
from edgellm.server.served import Models, Served

_WEIGHTS_BYTES = 96 << 20
_KEYS = {
    name: KeySettings(key=name, tokens_per_minute=10**9, tokens_per_day=10**12)
    for name in ("anna", "ben", "ci")
}
_BODIES = {
    "completion": ("/v1/completions", {"prompt": "Once upon a time"}),
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--requests", type=int, default=200)
    told = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    weights = np.ones(_WEIGHTS_BYTES // 4, np.float32)
    with served(()) as gateway:
        for kind, n in (("completion", 1), ("chat", 1), ("chat", 8)):
            warm_us = gateway.step_us(kind, n, told.steps, None)
            cold_us = gateway.step_us(kind, n, told.steps, weights)
            print(f"{n} × {kind}, a step: {warm_us:.1f} µs warm, {cold_us:.0f} cold", flush=True)
    for what, tables in (("no key", {}), ("three keys with bounds", _KEYS)):
        with served(joined(tables)) as gateway:
            warm_us = gateway.request_us("chat", told.requests, None)
            cold_us = gateway.request_us("chat", told.requests, weights)
            print(f"a request, {what}: {warm_us:.0f} µs warm, {cold_us:.0f} cold", flush=True)


class PipedEngine:
    """What it is asked is in `asked`; it answers what is written to its pipe."""

    def __init__(self) -> None:
        share = Share("cpu", "host", (0, 1), 1000, 200, 30)
        self.plan = Plan(
            model="tiny", file="tiny.gguf", quant="Q8_0", placement=Placement((share,), 0),
            n_ctx=1024, n_ctx_seq=512, n_parallel=4, n_seq_max=8, kv_type_k="f16",
            kv_type_v="f16", kv_unified=True, n_batch=512, n_ubatch=512, n_outputs_max=16,
            n_threads=2, flash_attention=False, swa_full=False, embedding=False,
        )  # fmt: skip
        self.asked: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.ready = self.gauge = self.pid = self.failure = self.lease = self.missing_device = None
        self.state, self.n_restarts, self.progress_ratio = "ready", 0, None
        self.adapters, self.log = AdapterList(), deque[str]()
        self.on_left = lambda key, finished: None
        self._inflight, self._n_asked = Inflight(), 0
        self._read_fd, self.write_fd = os.pipe()

    async def read(self) -> None:
        received = Receiver[FromWorker](FromWorker, self._inflight.deliver)
        pipe = os.fdopen(self._read_fd, "rb")
        await asyncio.get_running_loop().connect_read_pipe(lambda: received, pipe)

    def generate(self, prompt: object, params: Any) -> Any:
        self._n_asked += 1
        stream = self._inflight.open(self._n_asked, lambda request_id: None, params.claim)
        self.asked.put(self._n_asked)
        return stream


class Gateway:
    def __init__(self, url: str, engine: PipedEngine, thread: threading.Thread, key: str) -> None:
        self._port, self._engine, self._key = int(url.rpartition(":")[2]), engine, key
        assert thread.ident
        self._clock = time.pthread_getcpuclockid(thread.ident)

    def step_us(self, kind: str, n: int, n_steps: int, weights: Any) -> float:
        clients = [self._connected() for _ in range(n)]
        for client in clients:
            client.sendall(self._request(kind))
        ids = [self._engine.asked.get() for _ in clients]
        self._step(ids, clients)
        begun_s = time.clock_gettime(self._clock)
        for _ in range(n_steps):
            _read(weights)
            self._step(ids, clients)
        took_s = time.clock_gettime(self._clock) - begun_s
        for request_id, client in zip(ids, clients, strict=True):
            self._tell(_done(request_id))
            _until(client, b"0\r\n\r\n")
            client.close()
        return 1e6 * took_s / n_steps

    def request_us(self, kind: str, n_requests: int, weights: Any) -> float:
        """Of an answer that isn't streamed, of one word."""
        with self._connected() as client:
            for i in range(-20, n_requests):
                if i == 0:
                    begun_s = time.clock_gettime(self._clock)
                _read(weights)
                client.sendall(self._request(kind, streams=False))
                request_id = self._engine.asked.get()
                self._tell(Delta(request_id, " word", 1), _done(request_id))
                _until(client, b"}}")
            return 1e6 * (time.clock_gettime(self._clock) - begun_s) / n_requests

    def _step(self, ids: list[int], clients: list[socket.socket]) -> None:
        self._tell(*(Delta(request_id, " word", 1) for request_id in ids))
        for client in clients:
            _until(client, b"\n\n\r\n")

    def _tell(self, *messages: Delta | Done) -> None:
        os.write(self._engine.write_fd, encode_frame(list(messages)))

    def _connected(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self._port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def _request(self, kind: str, *, streams: bool = True) -> bytes:
        path, asked = _BODIES[kind]
        body = msgspec.json.encode({**asked, "stream": streams, "max_tokens": 400, "model": "tiny"})
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAccept: */*\r\n"
            f"Authorization: Bearer {self._key}\r\nContent-Type: application/json\r\n"
            f"User-Agent: bench\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def _done(request_id: int) -> Done:
    return Done(request_id, "stop", 5, 0, 1, Timings(0.0, 0.01, 0.01))


def _until(client: socket.socket, end: bytes) -> None:
    data = b""
    while not data.endswith(end):
        piece = client.recv(65536)
        assert piece, f"the server hung up after {data!r}"
        data += piece


def _read(weights: Any) -> None:
    if weights is not None:
        weights.sum()


@contextmanager
def served(keys: Any) -> Iterator[Gateway]:
    engine = PipedEngine()
    models = Models([Served("tiny", engine)])  # type: ignore[arg-type]
    app = create_app(models, terms=Terms(access=Access.of(keys=keys)))
    urls: queue.SimpleQueue[str] = queue.SimpleQueue()

    async def live() -> None:
        await engine.read()
        await serve(app, Bind(port=0), on_started=urls.put)

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    try:
        yield Gateway(urls.get(), engine, thread, keys[-1].name if keys else "none")
    finally:
        app.state.gateway.stopping.set()
        thread.join()
        os.close(engine.write_fd)


if __name__ == "__main__":
    main()
