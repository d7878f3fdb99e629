"""A hub's answers and parts of its files over HTTP: ranged reads and streams that can start in the
middle.

Three rules. The token goes to the configured host alone and is dropped on the way to any other.
A redirect never leaves https for http. A connection that is silent for `stall_timeout_s` is
dead: it ends in TransientError, like every fault that another try may cure.
"""

import re
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx2

from edgellm.errors import ModelNotFound, NetworkError, TransientError
from edgellm.models.fetching.http_client import connection_error, open_client, timeouts
from edgellm.models.hubs import DEFAULT_HUB, SITES, Site
from edgellm.values import frozen

_MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PACKINGS: Final = frozenset({"br", "deflate", "gzip", "zstd"})
_REFUSALS: Final = frozenset({401, 403, 451, 511})
# What no model is: a mirror's error may come with status 200.
_NO_FILES: Final = {"text/html": "a web page", "application/json": "words (JSON)"}
_WORTH_ANOTHER_TRY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


@frozen
class Answer:
    status: int
    body: bytes
    retry_after: str | None


class RangeClient:
    """`site`: whose words the errors use."""

    def __init__(
        self,
        endpoint: str,
        token: str | None,
        stall_timeout_s: float,
        site: Site = SITES[DEFAULT_HUB],
    ) -> None:
        self._origins = _origins(endpoint)
        self._token, self._site = token, site
        self._stall_timeout_s = stall_timeout_s
        self._client = open_client(stall_timeout_s)
        self._closing = weakref.finalize(self, self._client.close)  # a plan's hub has no end

    def close(self) -> None:
        self._closing()

    def read(self, url: str, start: int, end: int) -> bytes:
        """Bytes [start, end), fewer where the file ends. Raises NetworkError."""
        return _up_to(end - start, self.stream(url, start, end))

    def ask(self, url: str, timeout_s: float, max_bytes: int) -> Answer:
        """Any status, and of the body no more than `max_bytes`. Raises NetworkError."""
        with self._told(url, timeout_s), self._open(url, 0, None, timeout_s) as response:
            body = _up_to(max_bytes, response.iter_bytes())
            return Answer(response.status_code, body, response.headers.get("Retry-After"))

    def stream(self, url: str, start: int, end: int | None = None) -> Iterator[bytes]:
        """Bytes [start, end) as they come in. Raises NetworkError, at any chunk."""
        with self._told(url, self._stall_timeout_s), self._open(url, start, end) as response:
            self._check(response, start)
            skip = start - _begins_at(response)
            for chunk in response.iter_raw():
                if skip < len(chunk):
                    yield chunk[skip:]
                skip = max(skip - len(chunk), 0)

    @contextmanager
    def _told(self, url: str, timeout_s: float) -> Iterator[None]:
        """What goes wrong on the way, in our own words."""
        try:
            yield
        except httpx2.InvalidURL as error:
            raise NetworkError(f"{_host(url)} redirects to what is no address") from error
        except httpx2.HTTPError as error:
            raise connection_error(
                error, _asked(error, url), self._site, timeout_s, _host(url)
            ) from error

    @contextmanager
    def _open(
        self, url: str, start: int, end: int | None, timeout_s: float | None = None
    ) -> Iterator[httpx2.Response]:
        """The answer at the end of the redirects, whatever its status."""
        at, timeout_s = httpx2.URL(url), timeout_s or self._stall_timeout_s
        for _ in range(_MAX_REDIRECTS + 1):
            headers = self._headers(at, start, end)
            asked = self._client.stream("GET", at, headers=headers, timeout=timeouts(timeout_s))
            with asked as response:
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                at = _redirected(at, response.headers.get("Location", ""))
        raise NetworkError(f"{_host(url)} redirects more than {_MAX_REDIRECTS} times")

    def _headers(self, url: httpx2.URL, start: int, end: int | None) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if self._token and url.origin in self._origins:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _check(self, response: httpx2.Response, start: int) -> None:
        host, status = response.url.host, response.status_code
        if status not in (200, 206):
            raise self._refusal(response)
        self._check_kind(response)
        sent = response.headers.get("Content-Range", "")
        is_said = _RANGE.fullmatch(sent) is not None
        if (status == 206 and not is_said) or _begins_at(response) > start:
            raise TransientError(f"{host} answered with {sent!r}, asked for bytes from {start}")

    def _refusal(self, response: httpx2.Response) -> NetworkError | ModelNotFound:
        host, status = response.url.host, response.status_code
        if status in _REFUSALS and _kind(response) == "text/html":
            return NetworkError(
                f"something between here and {host} refuses (status {status}, a web page)",
                hint=f"does this network want a login? Open a web page; {self._site.other_ways}",
            )
        if status in (401, 403) and response.url.origin not in self._origins:
            return TransientError(  # who was sent there has a new signature the next time
                f"{host} refuses access (status {status}), where the hub has sent us",
                hint=f"is this machine's clock right? {self._site.other_ways}",
            )
        return status_error(host, status, response.headers.get("Retry-After"), self._site)

    def _check_kind(self, response: httpx2.Response) -> None:
        """A page in a file's place would be found out by its digest, after all of the rest has
        come."""
        host, headers = response.url.host, response.headers
        if found := _NO_FILES.get(_kind(response)):
            raise NetworkError(
                f"{host} answered with {found}, not with the file",
                hint="does this network want a login? Open a web page; or look at "
                f"{self._site.variables[0]}",
            )
        packing = headers.get("Content-Encoding", "").lower()
        if packing in _PACKINGS:
            raise NetworkError(
                f"{host} sends the file packed ({packing}), which was not asked for",
                hint="is there a proxy in between? HTTPS_PROXY and NO_PROXY say which is used",
            )


def _up_to(n_bytes: int, chunks: Iterator[bytes]) -> bytes:
    """The first of them."""
    parts, left = [], n_bytes
    for chunk in chunks:
        parts.append(chunk[:left])
        left -= len(parts[-1])
        if left == 0:
            break
    return b"".join(parts)


def _origins(endpoint: str) -> frozenset[httpx2.Origin]:
    """The hub's own: its address, and the same by HTTPS, to which one of plain HTTP may redirect.
    As httpx2 has it for who asks it for the files (_client.py: _is_https_redirect)."""
    if not endpoint:
        return frozenset()
    named = httpx2.URL(endpoint).origin
    if (named.scheme, named.port) != ("http", 80):
        return frozenset({named})
    return frozenset({named, httpx2.URL(f"https://{httpx2.URL(endpoint).netloc.decode()}").origin})


def _redirected(url: httpx2.URL, location: str) -> httpx2.URL:
    target = url.join(location)
    if target.scheme != "https" and target.scheme != url.scheme:
        raise NetworkError(f"{url.host} redirects to {target.scheme}://, which isn't safe")
    return target


def _kind(response: httpx2.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _begins_at(response: httpx2.Response) -> int:
    """Where in the file the answer begins: what it says counts, not its status. A part may come
    with status 200 (ModelScope: modelscope_hub#50), and earlier than asked for where a cache keeps
    blocks; who doesn't do ranges sends all of it."""
    said = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(said[1]) if said else 0


def status_error(
    host: str, status: int, retry_after: str | None, site: Site = SITES[DEFAULT_HUB]
) -> NetworkError | ModelNotFound:
    """What a status means to the person who waits for the file."""
    if status == 404:
        return ModelNotFound(
            f"{host} has no such file", hint=f"edgellm show {site.prefix}/ORG/REPO lists it"
        )
    if status in (401, 403):
        return NetworkError(
            f"{host} refuses access (status {status})",
            hint=f"accept the model's licence on its page, then set {site.token_variable}",
        )
    if status == 407:
        return NetworkError(
            f"a proxy on the way to {host} wants a password (status 407)",
            hint="HTTP_PROXY=http://USER:PASSWORD@HOST:PORT; NO_PROXY names who needs none",
        )
    message = f"{host} answered with status {status}"
    if status not in _WORTH_ANOTHER_TRY:
        return NetworkError(message)
    wait_s = float(retry_after) if retry_after and retry_after.isdecimal() else None
    return TransientError(message, hint="try again in a minute", retry_after_s=wait_s)


def _asked(error: httpx2.HTTPError, url: str) -> httpx2.URL:
    """Where it failed: often a content network, which the hub has sent us to."""
    try:
        return error.request.url
    except RuntimeError:  # nobody was asked yet
        return httpx2.URL(url)


def _host(url: str) -> str:
    return httpx2.URL(url).host
