"""A load client that costs little: plain asyncio sockets, one line of SSE at a time.

The machine under test is the machine that measures, so an HTTP library's overhead would be part
of the figures.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    ttft_s: float  # to the first chunk with text
    total_s: float
    n_tokens: int  # as the server counts them; as many as were asked for where it doesn't
    n_cached: int
    text: str
    last_s: float  # from the first chunk to the last
    at_s: tuple[float, ...] = ()  # when each chunk with text came, by time.perf_counter()

    @property
    def decode_tok_s(self) -> float:
        return (self.n_tokens - 1) / self.last_s if self.last_s else 0.0


async def complete(
    port: int,
    prompt: list[int] | str,
    n: int,
    *,
    saw: Callable[[], None] | None = None,
    **more: Any,
) -> Answer:
    """One greedy completion of exactly `n` tokens; `saw` is called for each chunk with text.

    Raises RuntimeError on an error answer.
    """
    body = {
        "model": "bench", "prompt": prompt, "max_tokens": n, "temperature": 0, "stream": True,
        "ignore_eos": True, "stream_options": {"include_usage": True}, **more,
    }  # fmt: skip
    begun_s = time.perf_counter()
    async with _asked(port, "/v1/completions", body) as reader:
        return await _read(reader, begun_s, saw or (lambda: None), n)


async def data_lines(port: int, path: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
    """The JSON of each event as it comes, or of an answer in one piece, an error's too."""
    async with _asked(port, path, body) as reader:
        async for line in reader:
            if line.startswith((b"data: {", b"{")):
                yield line.removeprefix(b"data: ")


@contextlib.asynccontextmanager
async def _asked(port: int, path: str, body: dict[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    try:
        writer.write(head.encode() + data)
        yield reader
    finally:
        writer.close()


async def _read(
    reader: asyncio.StreamReader, begun_s: float, saw: Callable[[], None], n_asked: int
) -> Answer:
    status = await reader.readline()
    first_s = last_s = None
    usage: dict[str, Any] = {}
    pieces: list[str] = []
    at_s: list[float] = []
    async for line in reader:
        if not line.startswith(b"data: {"):
            if b"200" not in status and line.startswith(b"{"):
                raise RuntimeError(line.decode())
            continue
        event = json.loads(line[6:])
        if "error" in event:
            raise RuntimeError(str(event["error"]))
        usage = event.get("usage") or usage
        choice = event["choices"][0] if event["choices"] else {}
        # An answer may consist of halves of characters: then only its end is seen.
        if choice.get("text") or (choice.get("finish_reason") and first_s is None):
            last_s = time.perf_counter()
            first_s = first_s or last_s
            at_s.append(last_s)
            saw()
            pieces.append(choice["text"])
    if first_s is None or last_s is None:
        raise RuntimeError(f"an answer without text: {status!r}")
    details = usage.get("prompt_tokens_details") or {}
    return Answer(
        ttft_s=first_s - begun_s,
        total_s=time.perf_counter() - begun_s,
        n_tokens=usage.get("completion_tokens", n_asked),
        n_cached=details.get("cached_tokens", 0),
        text="".join(pieces),
        last_s=last_s - first_s,
        at_s=tuple(at_s),
    )
