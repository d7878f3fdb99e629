"""Which models this server speaks for, and by which names."""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath

from edgellm.chat.template import ChatTemplate
from edgellm.errors import BadRequest, ModelNotFound
from edgellm.models.spec import ModelSpec
from edgellm.runner.engine import Engine

_MAX_ECHO = 80  # characters of a client's word that an error repeats


@dataclass(frozen=True, slots=True)
class Served:
    name: str
    engine: Engine
    template: ChatTemplate = field(default_factory=lambda: ChatTemplate(None))
    aliases: tuple[str, ...] = ()
    created: int = 0  # Unix seconds, as /v1/models shows it
    demo: bool = False
    spec: ModelSpec | None = None

    @property
    def is_embedding(self) -> bool:
        return self.engine.plan.embedding

    def answers_to(self, name: str) -> bool:
        """Its name with or without ":latest", an alias, or its file's name; any case."""
        file = PurePath(self.engine.plan.file)
        known = {self.name, *self.aliases, file.name, file.stem}
        asked = PurePath(name).name if name.endswith(".gguf") else name
        return _plain(asked) in {_plain(word) for word in known}


class Models:
    """In the order they were added: the first of a kind is the one that "no name" means."""

    def __init__(self, served: Iterable[Served] = ()) -> None:
        self._served = list(served)

    def __iter__(self) -> Iterator[Served]:
        return iter(tuple(self._served))

    def add(self, served: Served) -> None:
        self._served.append(served)

    def swap(self, old: Served, new: Served) -> None:
        """`new` takes the place of `old`; requests that `old` has begun are its engine's."""
        self._served[self._served.index(old)] = new

    def find(self, name: str) -> Served:
        for served in self._served:
            if served.answers_to(name):
                return served
        shown = name if len(name) <= _MAX_ECHO else name[:_MAX_ECHO] + "…"
        ours = ", ".join(served.name for served in self._served) or "nothing yet"
        raise ModelNotFound(
            f"no model {shown!r} is served here, but {ours}",
            hint=f"`edgellm serve {shlex.quote(shown)}` would load it",
            param="model",
        )

    def generative(self, name: str | None) -> Served:
        return self._of_kind(name, embedding=False)

    def embedding(self, name: str | None) -> Served:
        return self._of_kind(name, embedding=True)

    def _of_kind(self, name: str | None, *, embedding: bool) -> Served:
        kind = "embedding" if embedding else "generative"
        if not name:
            for served in self._served:
                if served.is_embedding is embedding:
                    return served
            raise ModelNotFound(
                f"no {kind} model is served here", hint="`edgellm serve MODEL` loads one"
            )
        served = self.find(name)
        if served.is_embedding is not embedding:
            other = "POST /v1/embeddings" if served.is_embedding else "POST /v1/chat/completions"
            raise BadRequest(
                f"{served.name} is not an {kind} model"
                if embedding
                else f"{served.name} is an embedding model and writes no text",
                hint=f"ask it by {other}",
                param="model",
            )
        return served


def _plain(name: str) -> str:
    return name.removesuffix(":latest").casefold()
