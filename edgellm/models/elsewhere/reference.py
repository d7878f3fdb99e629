"""A model in another tool's store, as people write it: the tool, a colon, what it is called there.

    ollama:qwen3:8b                   also ollama://qwen3:8b; ollama:hf.co/ORG/REPO:Q4_K_M
    lmstudio:ORG/REPO[:QUANT]         also …/FILE.gguf
    llamacpp:ORG/REPO[:QUANT]         also llama.cpp:…
    jan:NAME, gpt4all:FILE.gguf

No family of the catalog is called so, no repository has a colon before its slash, and a file of
such a name is written ./ollama:x.gguf. The name is only ever held against what lies in the store:
no path is made of it.
"""

from collections.abc import Mapping
from typing import Final

from edgellm.errors import BadRequest
from edgellm.values import frozen

TITLES: Final[Mapping[str, str]] = {
    "ollama": "Ollama",
    "lmstudio": "LM Studio",
    "llamacpp": "llama.cpp",
    "jan": "Jan",
    "gpt4all": "GPT4All",
}
_MAX_CHARACTERS: Final = 512


@frozen
class ElsewhereReference:
    tool: str  # one of TITLES
    name: str  # there: "qwen3:8b"

    @property
    def text(self) -> str:
        return f"{self.tool}:{self.name}"

    @property
    def title(self) -> str:
        return TITLES[self.tool]


def parse_elsewhere(text: str) -> ElsewhereReference | None:
    """None: no tool's name is before it. Raises BadRequest."""
    head, colon, name = text.partition(":")
    tool = head.lower().replace(".", "").replace("-", "")
    if not colon or tool not in TITLES:
        return None
    name = name.removeprefix("//").strip("/")
    if not name or not name.isprintable() or len(name) > _MAX_CHARACTERS:
        raise BadRequest(
            f"{text[:80]!r} names no model of {TITLES[tool]}",
            hint=f"write it like {tool}:NAME; edgellm list shows what is there",
        )
    return ElsewhereReference(tool, name)
