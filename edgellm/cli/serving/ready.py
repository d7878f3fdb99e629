"""What a server says when it is ready: what it serves where, and a line that can be pasted."""

import os
import shlex
from collections.abc import Callable, Iterable, Iterator

import msgspec

from edgellm.cli.flags.addresses import is_everywhere, seen_from_outside, url_at, url_of
from edgellm.cli.serving.engines import describe
from edgellm.config import Config, host_and_port, socket_path
from edgellm.files import path_of
from edgellm.probe.hardware import Hardware
from edgellm.runner.account import measured_shares
from edgellm.server.served import Served
from edgellm.units import format_bytes

_AS_PLANNED = 0.01
_KEY = "EDGELLM_API_KEY"


def ready_text(
    url: str,
    models: Iterable[Served],
    hardware: Hardware,
    config: Config,
    outside: Callable[[str], str | None] = seen_from_outside,
) -> str:
    """`outside` tells this machine's address for others, to one that listens at all of them."""
    served = tuple(models)
    lines = list(_served_lines(served))
    here, elsewhere = places(url, outside)
    lines.append(f"  at {here}")
    if elsewhere:
        lines.append(f"  from other machines at {elsewhere}")
    whose = {one.name: f"{one.name}: " if len(served) > 1 else "" for one in served}
    lines += [
        f"  {whose[one.name]}{text}"
        for one in served
        for text in (taken(one, hardware), untrained(one))
        if text
    ]
    if config.needs_key and os.environ.get(_KEY) not in config.api_keys:
        lines.append(f"  opened by its API key: where you ask, export {_KEY}=… first")
    return "\n".join([*lines, "", curl_line(here, served[0], config)])


def _served_lines(served: Iterable[Served]) -> Iterator[str]:
    asleep = [one for one in served if one.engine.state == "sleeping"]
    awake = [one for one in served if one not in asleep]
    if awake:
        yield f"edgellm serves {_named(awake)}"
        if asleep:
            yield f"  and when it is asked for, {_named(asleep)}"
        return
    yield "edgellm serves, each when it is asked for,"
    yield from (f"  {_named([one])}" for one in asleep)


def _named(models: Iterable[Served]) -> str:
    return ", ".join(f"{one.name} ({describe(one.engine.plan)})" for one in models)


def places(url: str, outside: Callable[[str], str | None]) -> tuple[str, str | None]:
    """Where it is asked from here; and from elsewhere, where it listens at every address."""
    host, port = ("", None) if socket_path(url) else host_and_port(url)
    if not is_everywhere(host):
        return url, None
    seen = outside(host)
    if seen is None:
        return url_of(url), f"port {port} of this machine's address"
    return url_of(url), url_at(url.partition("://")[0], seen, port)


def taken(served: Served, hardware: Hardware) -> str | None:
    """ "5.9 GiB of it llama.cpp's own, as planned", or by how much it is off. What drivers and the
    process take beside it is in neither."""
    plan, ready = served.engine.plan, served.engine.ready
    measured = measured_shares(ready.memory if ready else (), plan.placement, hardware)
    if not measured:
        return None
    took = sum(part.weight_bytes + part.kv_bytes + part.compute_bytes for part in measured)
    planned = plan.total_bytes - sum(share.overhead_bytes for share in plan.shares)
    off_ratio = took / planned - 1
    if abs(off_ratio) < _AS_PLANNED:
        return f"{format_bytes(took)} of it llama.cpp's own, as planned"
    return f"{format_bytes(took)} of it llama.cpp's own, {off_ratio:+.1%} beside the plan"


def untrained(served: Served) -> str | None:
    """Of a context that is longer than any the model has seen: it is had because it was pinned."""
    n_ctx_seq, known = served.engine.plan.n_ctx_seq, served.n_ctx_train
    if not known or n_ctx_seq <= known:
        return None
    return f"{n_ctx_seq} tokens of context are more than the {known} that it was trained for"


def curl_line(url: str, served: Served, config: Config) -> str:
    """A request that works as it stands, where the key is set; it is named, never printed."""
    words = ["curl", "-s"]
    if path := socket_path(url):
        words += ["--unix-socket", path]
        url = "http://localhost"
    elif url.startswith("https:") and config.ssl_cert_file:
        words += ["--cacert", str(path_of(config.ssl_cert_file))]
    words += [f"{url}/v1/{_route(served)}", "-H", "Content-Type: application/json"]
    line = shlex.join(words)
    if config.needs_key:
        line += f' -H "Authorization: Bearer ${_KEY}"'
    return f"{line} -d {shlex.quote(_body(served))}"


def _route(served: Served) -> str:
    routes = {"embedding": "embeddings", "reranking": "rerank"}
    return routes.get(served.kind, "chat/completions")


def _body(served: Served) -> str:
    """Plain ASCII inside: it goes through a shell."""
    words: dict[str, object] = {"model": served.name}
    if served.kind == "reranking":
        words |= {"query": "Hello?", "documents": ["Hello!", "Goodbye!"]}
    elif served.is_embedding:
        words["input"] = "Hello"
    else:
        words["messages"] = [{"role": "user", "content": "Hello!"}]
    return msgspec.json.encode(words).decode()
