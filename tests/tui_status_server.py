"""A small real server on loopback: the two endpoints that the TUI knows, over HTTP/1.1.

As strict as the real one where it matters to a client: the key is checked, an answer is a chunked
event stream, an unknown path is a 404 with OpenAI's envelope. It can go away and come back.
"""

import asyncio
import functools
import json

from edgellm import status


class StatusServer:
    """`async with StatusServer(...) as server:`; then set `status`, `script` and so on."""

    def __init__(self, newest, *, api_key=None):
        self.status = newest
        self.api_key = api_key
        self.script = [delta("Hello"), delta(" there"), finish(), usage(3), DONE]
        self.refusal = None  # (HTTP status, message) in place of an answer
        self.most_messages = None  # that the context has room for
        self.refuses_late = False  # inside a stream that has begun, as after ten seconds
        self.raw_status = None  # bytes in place of the status
        self.pause_s = 0.0  # between two pieces of an answer
        self.questions = []  # the bodies that were posted
        self.n_status = 0
        self.n_cut_off = 0  # answers whose client left
        self._server = None
        self._port = 0
        self._writers = set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        await self.stop()

    async def start(self):
        """Again on the port it had."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        """As a killed server does: the listener and every connection are gone."""
        self._server.close()
        for writer in self._writers.copy():
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self._writers.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._one(head.decode(), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, head, reader, writer):
        request_line, *fields = head.split("\r\n")
        method, path, _ = request_line.split(" ")
        headers = {k.lower(): v for k, _, v in (field.partition(": ") for field in fields) if k}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if self.api_key and headers.get("authorization") != f"Bearer {self.api_key}":
            await self._whole(writer, 401, envelope("no such key"))
        elif (method, path) == ("GET", "/edgellm/status"):
            self.n_status += 1
            await self._whole(writer, 200, self.raw_status or status.encode(self.status))
        elif (method, path) == ("POST", "/v1/chat/completions"):
            self.questions.append(json.loads(body))
            n_messages = len(self.questions[-1]["messages"])
            if self.most_messages is not None and n_messages > self.most_messages:
                refused = envelope("it is too long", code="context_length_exceeded")
                if self.refuses_late:
                    await self._stream(writer, [PING, b"data: %b\n\n" % refused])
                else:
                    await self._whole(writer, 400, refused)
            elif self.refusal:
                await self._whole(writer, self.refusal[0], envelope(self.refusal[1]))
            else:
                await self._stream(writer, self.script)
        else:
            await self._whole(writer, 404, envelope(f"no {path} here"))

    async def _whole(self, writer, code, body):
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (code, len(body), body))
        await writer.drain()

    async def _stream(self, writer, script):
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        try:
            for piece in script:
                if piece is CUT:
                    writer.transport.abort()
                    return
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(self.pause_s)
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        except ConnectionError:
            self.n_cut_off += 1
            raise


DONE = b"data: [DONE]\n\n"
PING = b": waiting\n\n"
CUT = b"CUT"  # the connection breaks here


def event(**chunk):
    return b"data: %b\n\n" % json.dumps(chunk).encode()


def delta(text, field="content"):
    return event(choices=[{"index": 0, "delta": {field: text}, "finish_reason": None}])


def finish(reason="stop"):
    return event(choices=[{"index": 0, "delta": {}, "finish_reason": reason}])


def usage(n_output, *, n_cached=0, tok_s=None):
    timings = {} if tok_s is None else {"timings": {"predicted_per_second": tok_s}}
    return event(
        choices=[],
        usage={
            "prompt_tokens": 10,
            "completion_tokens": n_output,
            "prompt_tokens_details": {"cached_tokens": n_cached},
        },
        **timings,
    )


def failure(message):
    return event(error={"message": message, "type": "server_error"})


def envelope(message, code=None):
    return json.dumps({"error": {"message": message, "type": "x", "code": code}}).encode()


async def until(true, *, within_s=30.0):
    """Waits for `true()`; says so when it doesn't come."""
    for _ in range(int(within_s / 0.02)):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"still not true after {within_s} s")


def in_loop(test):
    """An `async def` test, in an event loop of its own, and not for ever."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 120))

    return run
