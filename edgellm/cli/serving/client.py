"""The commands' own client: one server, asked for its status, to answer, and to stop."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Self, TypeVar

import httpx2
import msgspec

from edgellm import status
from edgellm.cli.flags.addresses import url_of
from edgellm.cli.flags.keys import key_for
from edgellm.cli.serving.trust import trust_for
from edgellm.config import socket_path
from edgellm.errors import EdgellmError, ModelNotFound, NotServing
from edgellm.meter.usage.counts import Report
from edgellm.status import Status
from edgellm.tui.told.answers import (
    Chunk,
    Ended,
    Piece,
    Timings,
    cut_off,
    nobody_there,
    piece,
    refusal,
)
from edgellm.tui.told.auth import Key, bearer
from edgellm.tui.told.exchange import (
    BETWEEN_CHUNKS_S,
    CONNECT_S,
    PATIENCE_S,
    connection_errors,
    request,
)
from edgellm.tui.told.questions import AnyMessage, encoded

T = TypeVar("T")


class _Tokens(msgspec.Struct, frozen=True):
    tokens: tuple[int, ...]


class Client:
    """`url` is http://host:port or https://host:port, with a path where a proxy has put the server
    below one, or unix:/path. Proxies of the environment are not asked. `api_key` is called for each
    request, and what it gives is all that is sent; without it `key_for` is asked.

    Raises ConfigError for what is no address.
    """

    def __init__(
        self, url: str, api_key: Key | None = None, *, patience_s: float = PATIENCE_S
    ) -> None:
        self.url, self._patience_s = url, patience_s
        base, path = base_and_socket(url)
        self._http = httpx2.Client(
            base_url=base,
            auth=bearer(api_key or partial(key_for, url)),
            transport=httpx2.HTTPTransport(trust_for(base), uds=path, trust_env=False),
            trust_env=False,
            timeout=httpx2.Timeout(patience_s, connect=CONNECT_S),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def status(self) -> Status:
        """Raises NotServing, which says what is wrong."""
        try:
            return status.decode(self._ask("GET", "/edgellm/status"))
        except ModelNotFound as error:  # which 404 means elsewhere; here it is the path
            raise NotServing(f"no edgellm at {self.url}: {error}") from error
        except status.Unreadable as error:
            raise NotServing(f"{self.url} speaks another version of edgellm") from error

    def usage(self, since: str, until: str) -> Report:
        """Both are days, "2026-11-01". Raises NotServing, and the refusal that it is."""
        answer = self._ask("GET", f"/edgellm/usage?since={since}&until={until}")
        return self._read(msgspec.json.Decoder(Report), answer)

    def shutdown(self) -> None:
        self._ask("POST", "/edgellm/shutdown")

    def chat(
        self, model: str, messages: Sequence[AnyMessage], **options: object
    ) -> Iterator[Piece]:
        """Closing it early closes the connection, which cancels the request."""
        content = encoded(model, messages, options)
        with connection_errors(self.url), self._http.stream(**request(content)) as response:
            if response.status_code >= 400:
                told = self._whole(response, self._patience_s)
                raise refusal(self.url, response.status_code, told)
            for line in response.iter_lines():
                match piece(line):
                    case Piece() as found:
                        yield found
                    case Ended():
                        return
        raise cut_off()

    def tokenize(self, model: str, text: str) -> tuple[int, ...]:
        answer = self._ask("POST", "/tokenize", {"model": model, "content": text})
        return self._read(msgspec.json.Decoder(_Tokens), answer).tokens

    def complete(self, model: str, prompt: Sequence[int], **options: object) -> Timings:
        """How long a prompt of tokens and its answer took; the text is thrown away."""
        body = {"model": model, "prompt": prompt, **options}
        answer = self._ask("POST", "/v1/completions", body, timeout_s=BETWEEN_CHUNKS_S)
        chunk = self._read(msgspec.json.Decoder(Chunk), answer)
        if chunk.timings is None:
            raise EdgellmError(f"{self.url} tells no timings", hint="is it an edgellm server?")
        return chunk.timings

    def _ask(
        self, verb: str, path: str, body: object = None, timeout_s: float | None = None
    ) -> bytearray:
        """The answer's body. Raises NotServing, and the refusal that it is."""
        waits_s = timeout_s or self._patience_s
        try:
            with self._http.stream(
                verb,
                path,
                content=None if body is None and verb == "GET" else msgspec.json.encode(body or {}),
                headers={"content-type": "application/json"},
                timeout=httpx2.Timeout(waits_s, connect=CONNECT_S),
            ) as answer:
                told = self._whole(answer, waits_s)
        except httpx2.TimeoutException as error:
            raise NotServing(f"{self.url} does not answer") from error
        except httpx2.TransportError as error:
            raise nobody_there(self.url, error) from error
        except httpx2.RequestError as error:  # packed in a way that it isn't
            raise NotServing(f"no edgellm at {self.url}: its answer can't be read") from error
        except status.Unreadable as error:
            raise NotServing(f"no edgellm at {self.url}: its answer has no end") from error
        if answer.status_code >= 400:
            raise refusal(self.url, answer.status_code, told)
        return told

    def _whole(self, answer: httpx2.Response, waits_s: float) -> bytearray:
        body, ends_s = bytearray(), time.monotonic() + waits_s
        for part in answer.iter_bytes():
            status.take(body, part)
            if time.monotonic() > ends_s:  # letter by letter
                raise NotServing(f"{self.url} does not answer")
        return body

    def _read(self, decoder: msgspec.json.Decoder[T], body: bytearray) -> T:
        try:
            return status.read(decoder, body)
        except status.Unreadable as error:
            raise EdgellmError(
                f"{self.url} can't be understood: {error}", hint="is it an edgellm server?"
            ) from error


def base_and_socket(url: str) -> tuple[str, str | None]:
    """What an HTTP client is to be told. Raises ConfigError for what is no address."""
    base = url_of(url)
    path = socket_path(base)
    return ("http://localhost", path) if path else (base, None)
