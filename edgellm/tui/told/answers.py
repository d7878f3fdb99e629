"""A streamed chat answer, line by line: server-sent events to pieces, refusals to errors. Pure.

What a stream may end with is `Ended`; one that stops without was cut off, and so was one that
says `error`: the caller is told, never shown half an answer as a whole one.
"""

import ssl
from dataclasses import dataclass

import msgspec

from edgellm.errors import BY_CODE, BY_STATUS, EdgellmError, KeyRefused, NotServing, WorkerDied
from edgellm.harmless import prose
from edgellm.status import Unreadable, read

_IN_A_STREAM = {"invalid_request_error": 400}  # where there is no status; all else is its worker's


@dataclass(frozen=True, slots=True)
class Figures:
    """What the server says of the answer, at its end. None: it doesn't."""

    n_output: int | None = None
    n_prompt: int | None = None
    n_cached: int | None = None
    decode_tok_s: float | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    pass


class Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None


class Choice(msgspec.Struct, frozen=True):
    delta: Delta = Delta()
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


class Timings(msgspec.Struct, frozen=True):
    """llama.cpp's words; milliseconds."""

    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    prompt_per_second: float | None = None
    predicted_n: int = 0
    predicted_ms: float = 0.0
    predicted_per_second: float | None = None


class Piece(msgspec.Struct, frozen=True):
    """A bit of an answer. The last one has a reason; figures come with it or after it."""

    text: str = ""
    thought: str = ""
    reason: str | None = None  # "stop", "length" ...
    figures: Figures | None = None
    timings: Timings | None = None


class _Problem(msgspec.Struct, frozen=True):
    message: str = "no reason given"
    type: str | None = None
    code: str | int | None = None


class Chunk(msgspec.Struct, frozen=True):
    """One event; also a whole answer that was not streamed, and a refusal."""

    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    timings: Timings | None = None
    error: _Problem | None = None


_decoder = msgspec.json.Decoder(Chunk)


def decode(data: bytes | bytearray) -> Chunk:
    """Raises Unreadable."""
    return read(_decoder, data)


def piece(line: str) -> Piece | Ended | None:
    """One line of the stream; None is a comment that keeps the connection open, a blank line, a
    field nobody needs. Raises the error that the server reports, EdgellmError for garbage."""
    if not line.startswith("data:"):
        return None
    data = line.removeprefix("data:").strip()
    if data == "[DONE]":
        return Ended()
    try:
        chunk = decode(data.encode(errors="surrogatepass"))
    except Unreadable as error:
        raise EdgellmError(f"the answer can't be read: {error}") from error
    if chunk.error is not None:
        raise _kind_of(chunk.error)(prose(chunk.error.message))
    choice = chunk.choices[0] if chunk.choices else Choice()
    return Piece(
        text=choice.delta.content or "",
        thought=choice.delta.reasoning_content or "",
        reason=choice.finish_reason,
        figures=_figures(chunk),
        timings=chunk.timings,
    )


def refusal(url: str, status_code: int, body: bytes | bytearray) -> EdgellmError:
    """The server's refusal in its own words, as the error that it was there."""
    try:
        problem = decode(body).error or _Problem(f"it answered {status_code}")
    except Unreadable:
        return NotServing(f"no edgellm at {url}: it answered {status_code}")
    words = prose(problem.message)
    if status_code == 401:
        return KeyRefused(f"{url}: {words}", hint="set EDGELLM_API_KEY")
    if status_code == 403:  # another host's name, another site's page
        return NotServing(f"{url}: {words}")
    return _kind_of(problem, status_code)(words)


def cut_off() -> WorkerDied:
    """For a stream that ends and doesn't say so."""
    return WorkerDied("the answer broke off before it was whole")


def nobody_there(url: str, error: BaseException | None = None) -> NotServing:
    """`error`: why it can't be reached."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return NotServing(
                f"the certificate of {url} can't be believed: {error.verify_message}",
                hint="SSL_CERT_FILE=FILE names who has signed it, or a certificate to believe",
            )
        if isinstance(error, ssl.SSLError):
            return NotServing(f"{url} speaks no TLS, or another kind", hint="is it http:// there?")
        error = error.__cause__ or error.__context__
    return NotServing(f"no server at {url}", hint="is that its address? edgellm up starts one")


def _kind_of(problem: _Problem, status_code: int | None = None) -> type[EdgellmError]:
    """By our code, else by the status, which llama-server tells as its code, too."""
    if kind := BY_CODE.get(str(problem.code)):
        return kind
    if status_code is None and isinstance(problem.code, int):
        status_code = problem.code
    by_type = _IN_A_STREAM.get(problem.type or "", WorkerDied.http_status)
    return BY_STATUS.get(status_code or by_type, EdgellmError)


def _figures(chunk: Chunk) -> Figures | None:
    if chunk.usage is None and chunk.timings is None:
        return None
    usage = chunk.usage or Usage()
    details = usage.prompt_tokens_details
    return Figures(
        n_output=usage.completion_tokens,
        n_prompt=usage.prompt_tokens,
        n_cached=details.cached_tokens if details else None,
        decode_tok_s=chunk.timings.predicted_per_second if chunk.timings else None,
    )
