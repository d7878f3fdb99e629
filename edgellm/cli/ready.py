"""What a server says when it is ready: where it is, and a line that can be pasted."""

import shlex

import msgspec

from edgellm.cli.engines import describe
from edgellm.cli.prepare import Prepared
from edgellm.config import Config


def ready_text(url: str, prepared: tuple[Prepared, ...], config: Config) -> str:
    served = ", ".join(f"{one.name} ({describe(one.plan)})" for one in prepared)
    return f"edgellm serves {served}\n  at {url}\n\n{curl_line(url, prepared[0], config)}"


def curl_line(url: str, prepared: Prepared, config: Config) -> str:
    """A request that works as it stands; a key is named, never printed."""
    words = ["curl", "-s"]
    if url.startswith("unix:"):
        words += ["--unix-socket", url.removeprefix("unix:").removeprefix("//")]
        url = "http://localhost"
    words += [f"{url}/v1/{_route(prepared)}", "-H", "Content-Type: application/json"]
    line = shlex.join(words)
    if config.api_keys:
        line += ' -H "Authorization: Bearer $EDGELLM_API_KEY"'
    return f"{line} -d {shlex.quote(_body(prepared))}"


def _route(prepared: Prepared) -> str:
    return "embeddings" if prepared.plan.embedding else "chat/completions"


def _body(prepared: Prepared) -> str:
    """Plain ASCII inside: it goes through a shell."""
    words: dict[str, object] = {"model": prepared.name}
    if prepared.plan.embedding:
        words["input"] = "Hello"
    else:
        words["messages"] = [{"role": "user", "content": "Hello!"}]
    return msgspec.json.encode(words).decode()
