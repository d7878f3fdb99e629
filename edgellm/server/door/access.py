"""Who may talk to this server. Pure: a request's head in, a refusal or nothing out.

The enemy is a web page in the user's own browser. It can send requests here, and by DNS
rebinding it can even read the answers: then the Host header carries a name of the attacker's.
So a Host must be an address (nobody can rebind that), localhost, a name that the configuration
allows, where others may come in one of the machine's own or, where no browser asks, one that no
name server of the web has; the check is never skipped, not on a LAN bind either. A request with a
foreign Origin is refused, with `null` too, but for those that the configuration allows
(origins.py); without any no CORS header is ever sent. A POST must be declared as JSON, which a page
cannot do without asking first; only what bears no trace of a browser may be declared as curl and
others do unasked, since no page can take these traces off. A unix socket has no Host to check: no
browser speaks to one.
"""

import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgellm.keys import ANYBODY, Key, digest_of, plain
from edgellm.server.door.bodies import for_large_bytes
from edgellm.server.door.origins import is_allowed, is_question
from edgellm.server.envelope import HTTPProblem
from edgellm.units import MIB

# Docker's and Podman's names for the machine that a container is on, and names of one word, as
# Compose and Kubernetes give them to services and networks at home to machines. No name server of
# the web has them ("internal" is kept for private use: ICANN's board, July 2024; one word alone is
# no one's: IAB, "Dotless Domains Considered Harmful", 2013), but that of the network that a laptop
# is in may say anything: so no browser may come by them, and programs have no pages. A page at
# `http://` such a name can take much off its own requests: there is no `Sec-Fetch-…` there, no
# `Origin` with a GET, and what it says as `User-Agent` counts (Fetch; Firefox and Safari heed it).
# `Accept-Language` it can change, and not take off.
_FOR_CONTAINERS = frozenset({"host.docker.internal", "host.containers.internal"})
_ONE_WORD = re.compile(r"[a-z0-9_-]{1,63}")
MAX_HEADERS = 100
MAX_BODY_BYTES = 16 * MIB  # of one request
OPEN_PATHS = frozenset({"/health", "/v1/health"})  # no key needed: it tells nothing
_OWN_PATHS = "/edgellm/"  # what ends the server is there, and only its own programs ask for it
_FORM_PATHS = frozenset(
    f"{v1}/audio/{what}" for v1 in ("/v1", "") for what in ("transcriptions", "translations")
)
# What tools say when nobody tells them: curl and PowerShell a form, `fetch` outside a browser text.
_UNDECLARED = ("", "application/x-www-form-urlencoded", "text/plain")
# `Origin` comes with every POST of a page, a form or a beacon (Fetch: "append a request `Origin`
# header"). The others are for what lost it on its way through a proxy.
_BROWSERS = frozenset({"origin", "referer", "cookie", "ping-from"})
_OF_BROWSERS = ("sec-", "access-control-")
# Firefox before 70, Internet Explorer and Opera before 15 sent forms without an Origin. PowerShell
# calls itself Mozilla, too, and itself at the end (its PSUserAgent.cs).
_NAMES_OF_BROWSERS = ("mozilla/", "opera/")
_NAMES_OF_TOOLS = ("powershell/", "windowspowershell/")
# Node's `fetch` sends this one. A browser sends it with `Sec-Fetch-Site`, always.
# (W3C, Fetch Metadata: "append the Fetch metadata headers for a request")
_OF_NODE = ("sec-fetch-mode", "cors")


@dataclass(frozen=True, slots=True)
class Access:
    keys: tuple[Key, ...] = ()  # none: anybody may ask
    host_names: frozenset[str] = frozenset()
    max_body_bytes: int = MAX_BODY_BYTES
    all_bodies_bytes: int = 256 * MIB
    origins: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        *,
        keys: Iterable[Key | str] = (),
        host_names: Iterable[str] = (),
        all_bodies_bytes: int = 256 * MIB,
        origins: Iterable[str] = (),
    ) -> "Access":
        """A key that is a text may everything. A body that could never get in is too large by
        itself."""
        keys = tuple(keys)
        return cls(
            (
                *(key for key in keys if isinstance(key, Key)),
                *plain(key for key in keys if isinstance(key, str)),
            ),
            frozenset(_plain(name) for name in host_names),
            min(MAX_BODY_BYTES, for_large_bytes(all_bodies_bytes)),
            all_bodies_bytes,
            frozenset(origin.casefold() for origin in origins),
        )

    def key_of(self, headers: Mapping[str, str]) -> Key | None:
        """That the request brings, in a time that tells nothing of it. None: none of ours. Without
        keys whoever asks is anybody."""
        if not self.keys:
            return ANYBODY
        credential = _credential(headers)
        given = digest_of(credential, "latin-1")
        found = [key for key in self.keys if hmac.compare_digest(given, key.digest)]
        return found[0] if found and credential else None

    def queue_ratio(self, key: Key) -> float:
        """Of the places in the queue, that may be this key's."""
        return key.weight / sum(one.weight for one in self.keys) if self.keys else 1.0


def own_names(host: str, hostname: str) -> frozenset[str]:
    """What others may call a machine that listens at `host` beyond loopback: what it was told to
    listen at, what its system calls it, that name's first part, and what mDNS makes of that.

    No web page of the world's is at such a name. Who can put one there, or name the machine, is in
    its network (by mDNS, by DHCP), and reaches what listens there without a browser's help. What
    listens on loopback alone he reaches by no other way: there these names are strangers.
    """
    name = _plain(hostname)
    short = name.partition(".")[0]
    names = {_plain(host), name, short, f"{short}.local" if short else ""}
    return frozenset(names - {""})


@dataclass(frozen=True, slots=True)
class Head:
    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    n_headers: int
    by_unix_socket: bool


def refusal(head: Head, access: Access, key: Key | None) -> HTTPProblem | None:
    """`key`: what Access found. In this order: a stranger's page learns nothing of whether its key
    was right."""
    if head.n_headers > MAX_HEADERS:
        words = f"{head.n_headers} header fields are more than {MAX_HEADERS}"
        return HTTPProblem(431, words, code="too_many_headers")
    if problem := _foreign_host(head, access) or _foreign_origin(head, access):
        return problem
    if asks_first(head, access):  # a browser asks without the page's key
        return None
    return (
        _wrong_key(head, key)
        or _wrong_content(head)
        or (too_large(access) if announced_bytes(head) > access.max_body_bytes else None)
    )


def asks_first(head: Head, access: Access) -> bool:
    """Whether it is the question of a page that may ask here, which the door answers itself."""
    return is_question(head.method, head.headers) and is_allowed(head.headers, access.origins)


def _foreign_host(head: Head, access: Access) -> HTTPProblem | None:
    host = head.headers.get("host")
    if head.by_unix_socket or host is None:  # only HTTP/1.0 may leave it out, and no browser does
        return None
    name = _name_of(host)
    if _is_trusted(name, access):
        return None
    is_of_no_web = name in _FOR_CONTAINERS or _ONE_WORD.fullmatch(name)
    if is_of_no_web and not (_may_be_of_a_page(head.headers) or _is_disguised(head)):
        return None
    return HTTPProblem(
        403,
        "this Host name is not allowed here; use the address, or add the name to allowed_hosts",
        code="foreign_host",
    )


def _foreign_origin(head: Head, access: Access) -> HTTPProblem | None:
    origin = head.headers.get("origin")
    if origin is None or is_allowed(head.headers, access.origins):
        return None
    host = head.headers.get("host", "")
    if origin.casefold() in (f"http://{host}".casefold(), f"https://{host}".casefold()):
        return None
    return HTTPProblem(
        403,
        "requests from web pages of another origin are not answered, but those of allowed_origins",
        code="foreign_origin",
    )


def _wrong_key(head: Head, key: Key | None) -> HTTPProblem | None:
    if key or head.path in OPEN_PATHS:
        return None
    return HTTPProblem(
        401,
        "a valid API key is needed, as Authorization: Bearer KEY or x-api-key: KEY",
        code="invalid_api_key",
    )


def _wrong_content(head: Head) -> HTTPProblem | None:
    kind = head.headers.get("content-type", "").partition(";")[0].strip().casefold()
    if coded := _coding(head):
        words = f"a body in Content-Encoding {coded[:40]} is not read here; send it as it is"
        return HTTPProblem(415, words, code="encoded")
    if head.method != "POST":
        return None
    if head.path in _FORM_PATHS:
        return _wrong_form(head, kind)
    if kind == "application/json":
        return None
    is_own = head.path.startswith(_OWN_PATHS)
    if kind in _UNDECLARED and not is_own and not _may_be_of_a_page(head.headers):
        return None
    words = "Content-Type must be application/json"
    if kind.startswith("multipart/"):  # a file: who sends one is told where one may go
        words += ": only /v1/audio/transcriptions takes a file"
    return HTTPProblem(415, words, code="not_json")


def _wrong_form(head: Head, kind: str) -> HTTPProblem | None:
    """A page may send a form to whom it likes, and asks nobody first. One that says its origin has
    been looked at by now."""
    if kind != "multipart/form-data":
        return HTTPProblem(415, "Content-Type must be multipart/form-data", code="no_form")
    if "origin" in head.headers or not _may_be_of_a_page(head.headers):
        return None
    return HTTPProblem(403, "a form of a page that doesn't say its origin", code="foreign_origin")


def _coding(head: Head) -> str:
    coding = head.headers.get("content-encoding", "").strip().casefold()
    return "" if coding == "identity" else coding


def _may_be_of_a_page(headers: Mapping[str, str]) -> bool:
    agent = headers.get("user-agent", "").casefold()
    is_tool = agent.rpartition(" ")[2].startswith(_NAMES_OF_TOOLS)
    return (agent.startswith(_NAMES_OF_BROWSERS) and not is_tool) or any(
        name in _BROWSERS or (name.startswith(_OF_BROWSERS) and (name, value) != _OF_NODE)
        for name, value in headers.items()
    )


def _is_disguised(head: Head) -> bool:
    """Browsers always say which language they want; so does Node's `fetch`, which says how it
    fetches, too. Whatever else a page sends has an `Origin`."""
    name, value = _OF_NODE
    is_nodes = head.headers.get(name) == value
    return head.method in ("GET", "HEAD") and "accept-language" in head.headers and not is_nodes


def announced_bytes(head: Head) -> int:
    """How long the body will be; 0 where it comes in chunks, and nobody knows."""
    length = head.headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


def too_large(access: Access) -> HTTPProblem:
    return HTTPProblem(
        413, f"the body is larger than {access.max_body_bytes} bytes", code="body_too_large"
    )


def _credential(headers: Mapping[str, str]) -> str:
    """One reader for both headers: a rule that held for one of them only was a CVE elsewhere.

    Its letters are bytes (latin-1), as headers have them; those of a key are UTF-8.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.casefold() == "bearer" else headers.get("x-api-key", "")


def _name_of(host: str) -> str:
    """Without the port: "[::1]:8484" -> "::1". What is not written so has no name."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name if ":" in name and re.fullmatch(r"(:\d*)?", port) else ""
    return _plain(host.partition(":")[0])


def _plain(name: str) -> str:
    return name.casefold().removesuffix(".")


def _is_trusted(name: str, access: Access) -> bool:
    if name == "localhost" or name.endswith(".localhost") or name in access.host_names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
