"""What Ollama's clients may ask of it, and this server leaves to the command line: models come, go
and change their names there. The refusals name the command."""

import shlex
from collections.abc import Mapping

import msgspec

from edgellm.server.body import Bytes, decode
from edgellm.server.envelope import HTTPProblem
from edgellm.server.openai.messages import Name

_NOT_IMPLEMENTED = 501
_WORDS: Mapping[str, str] = {
    "pull": "models are not pulled over HTTP here; `edgellm pull {name}` pulls one, "
    "`edgellm serve {name}` serves it",
    "delete": "models are not deleted over HTTP here; `edgellm rm {name}` removes one",
    "copy": "a served model is not copied; a file that is served by its path has its own name",
    "create": "no model is made from a Modelfile here; `edgellm serve FILE.gguf` serves a file as "
    "it is",
    "push": "no model is pushed from here",
    "blobs": "no file is uploaded here; `edgellm serve FILE.gguf` serves one in place",
    "unload": "this model stays while its server runs: it is pinned, the --embedding model, or the "
    "only one, without --sleep-idle-seconds",
}


class NameBody(msgspec.Struct):
    """`name` is an older word for `model`."""

    model: Name | None = None
    name: Name | None = None
    source: Name | None = None
    stream: bool | None = None

    @property
    def asked(self) -> str:
        return self.model or self.name or self.source or ""


_decoder = msgspec.json.Decoder(NameBody)


def read_name(data: Bytes) -> NameBody:
    """Raises BadRequest."""
    return decode(_decoder, data)


def refused(what: str, name: str = "") -> HTTPProblem:
    shown = shlex.quote(name[:80]) if name else "MODEL"
    return HTTPProblem(_NOT_IMPLEMENTED, _WORDS[what].format(name=shown), code="not_served")
