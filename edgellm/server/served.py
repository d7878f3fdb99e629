"""Which models this server speaks for, and by which names."""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal

from edgellm.chat.defaults import Defaults
from edgellm.chat.templating.template import ChatTemplate
from edgellm.errors import BadRequest, ModelNotFound, NotServing
from edgellm.models.anatomy.projectors import Modality
from edgellm.models.spec import ModelSpec
from edgellm.runner.engine import Engine

Kind = Literal["generative", "embedding", "reranking"]

_ROUTES: dict[Kind, str] = {
    "generative": "POST /v1/chat/completions",
    "embedding": "POST /v1/embeddings",
    "reranking": "POST /v1/rerank",
}
_BESIDE: dict[Kind, str] = {
    "embedding": "; `edgellm serve MODEL --embedding OTHER` serves one beside it"
}
_LACKS: dict[Modality, str] = {
    "vision": "sees no pictures without a projector for them",
    "audio": "hears no sound without a projector for it",
}
_HAVE: dict[Modality, str] = {
    "vision": "`edgellm serve gemma3:4b` brings one along",
    "audio": "`edgellm serve ggml-org/ultravox-v0_5-llama-3_2-1b-GGUF` brings one along",
}
_LOADS_ONE = "`edgellm serve MODEL` loads one"
_ANY = "*"
_MAX_ECHO = 80  # characters of a client's word that an error repeats


@dataclass(frozen=True, slots=True)
class Served:
    name: str
    engine: Engine
    template: ChatTemplate = field(default_factory=lambda: ChatTemplate(None))
    aliases: tuple[str, ...] = ()
    created: int = 0  # Unix seconds, as /v1/models shows it
    demo: bool = False
    may_go: bool = False  # while it sleeps; see ModelStatus
    spec: ModelSpec | None = None
    defaults: Defaults = field(default_factory=Defaults)

    @property
    def file_name(self) -> str:
        """Its name alone: in which folder it lies is nobody's business."""
        return PurePath(self.engine.plan.file).name

    @property
    def names(self) -> tuple[str, ...]:
        """Its own, and those of its adapters, which are asked for like models."""
        return (self.name, *(adapter.name for adapter in self.engine.adapters))

    @property
    def is_embedding(self) -> bool:
        return self.engine.plan.embedding

    @property
    def kind(self) -> Kind:
        """As its worker found it; until it has, as the plan says."""
        if not self.is_embedding:
            return "generative"
        ready = self.engine.ready
        pooling = ready.pooling if ready else self.engine.plan.pooling
        return "reranking" if pooling == "rank" else "embedding"

    @property
    def n_ctx_train(self) -> int | None:
        """The context that it was trained for; None: not known before it is loaded."""
        spec, ready = self.spec, self.engine.ready
        return spec.n_ctx_train if spec else ready.n_ctx_train if ready else None

    @property
    def capabilities(self) -> tuple[str, ...]:
        """llama-server's words."""
        if self.kind != "generative":
            return ("rerank",) if self.kind == "reranking" else ("embedding",)
        return ("completion", "multimodal") if self.engine.plan.projector else ("completion",)

    def takes(self, modality: Modality) -> bool:
        """Where its projector's header wasn't read this says yes, and the worker decides."""
        plan = self.engine.plan
        return bool(plan.projector) and (plan.modalities is None or modality in plan.modalities)

    def check_takes(self, modalities: Iterable[Modality], param: str = "messages") -> None:
        """Raises BadRequest for a model whose projector has no encoder for it, or that has none."""
        for modality in modalities:
            if not self.takes(modality):
                has = "a projector for something else" if self.engine.plan.projector else "none"
                raise BadRequest(
                    f"{self.name} {_LACKS[modality]}; it is served with {has}",
                    hint=f"`edgellm serve MODEL --mmproj FILE`, with the file made for this model; "
                    f"{_HAVE[modality]}",
                    param=param,
                )

    def keep(self, idle_s: float | None) -> None:
        """Sets how long the model stays from now on while nobody asks, if it ever goes. None
        changes nothing."""
        if idle_s is not None and self.engine.lease:
            self.engine.lease.keep(idle_s)

    def answers_to(self, name: str) -> bool:
        """Its name, an alias, its file's name or an adapter's; with or without ":latest", and in
        upper or lower case."""
        file = PurePath(self.file_name)
        known = {*self.names, *self.aliases, file.name, file.stem}
        asked = PurePath(name).name if name.endswith(".gguf") else name
        return _plain(asked) in {_plain(word) for word in known}


class Models:
    """In the order in which they were added: a request without a name gets the first of its kind.

    `aliases` (`--alias`) are names that mean the same as no name. "*" makes one of every name that
    no model has.
    """

    def __init__(
        self, served: Iterable[Served] = (), aliases: Iterable[str] = (), key: str | None = None
    ) -> None:
        """`key`: whose they are, of one that may not ask all. None: all are here."""
        self._key = key
        self._served = list(served)
        self._aliases = tuple(aliases)
        self._is_any, self._plain = _ANY in self._aliases, {*map(_plain, self._aliases)}

    def __iter__(self) -> Iterator[Served]:
        return iter(tuple(self._served))

    def only(self, names: Iterable[str] | None, key: str | None = None) -> "Models":
        """A copy with the models that have one of these names. None: this one itself, with all.
        `key`: whose names they are."""
        if names is None:
            return self
        wanted = tuple(names)
        found = (one for one in self if any(map(one.answers_to, wanted)))
        return Models(found, self._aliases, key)

    def add(self, served: Served) -> None:
        self._served.append(served)

    def remove(self, served: Served) -> None:
        self._served.remove(served)

    def swap(self, old: Served, new: Served) -> None:
        """`new` takes the place of `old`, whose engine finishes the requests that it has begun."""
        self._served[self._served.index(old)] = new

    def aliases_of(self, served: Served) -> tuple[str, ...]:
        """A model's own aliases. Those of `--alias` are shown with one model only, the first that
        answers chats or else the first of all, though for other routes they mean another."""
        given = [alias for alias in self._aliases if alias != _ANY]
        is_meant = bool(given) and served is self.any(None)
        return tuple(dict.fromkeys([*served.aliases, *(given if is_meant else ())]))

    def is_given(self, name: str) -> bool:
        """Whether it is one of `--alias`, other than by "*"."""
        return _plain(name) in self._plain - {_ANY}

    def knows(self, name: str) -> bool:
        return self._named(name) is not None or self._means_none(name)

    def find(self, name: str) -> Served:
        if found := self._named(name):
            return found
        if self._served and self._means_none(name):
            return self.any(None)
        shown = name if len(name) <= _MAX_ECHO else name[:_MAX_ECHO] + "…"
        ours = ", ".join(served.name for served in self._served) or "nothing yet"
        raise ModelNotFound(
            f"no model {shown!r} is {self._here}, but {ours}",
            hint=self._hint(_ways_to(shlex.quote(shown), self._served)),
            param="model",
        )

    @property
    def _here(self) -> str:
        return "served here" if self._key is None else f"served here for the key {self._key}"

    def _hint(self, way: str) -> str:
        """`way`: for who may change what is served. Whether there are models that a key may not
        ask, it isn't told."""
        if self._key is None:
            return way
        return f"`models` in [keys.{self._key}] of the settings says which it may ask"

    def _named(self, name: str) -> Served | None:
        """One whose whole name it is, before one of which it is a short form or an alias."""
        plain = _plain(name)
        whole = next((one for one in self._served if _plain(one.name) == plain), None)
        return whole or next((one for one in self._served if one.answers_to(name)), None)

    def _means_none(self, name: str) -> bool:
        """Whether it is an alias, and no model's own name: then it is as good as none."""
        return self._named(name) is None and (self._is_any or _plain(name) in self._plain)

    def any(self, name: str | None) -> Served:
        """The named one; without a name the first that answers chats, else the first of all.

        Raises NotServing where there is none, as this is how clients ask if we are ready.
        """
        if name:
            return self.find(name)
        if not self._served:
            raise NotServing(f"no model is {self._here} yet", hint=self._hint(_LOADS_ONE))
        return min(self._served, key=lambda served: served.kind != "generative")

    def generative(self, name: str | None) -> Served:
        return self._of_kind(name, "generative")

    def embedding(self, name: str | None) -> Served:
        return self._of_kind(name, "embedding")

    def reranker(self, name: str | None) -> Served:
        return self._of_kind(name, "reranking")

    def _of_kind(self, name: str | None, kind: Kind) -> Served:
        if not name or self._means_none(name):
            for served in self._served:
                if served.kind == kind:
                    return served
            raise ModelNotFound(f"no {kind} model is {self._here}", hint=self._hint(_LOADS_ONE))
        served = self.find(name)
        if served.kind != kind:
            raise BadRequest(
                f"{served.name} is {_a(served.kind)} model and writes no text"
                if kind == "generative"
                else f"{served.name} is not {_a(kind)} model",
                hint=f"ask it by {_ROUTES[served.kind]}{_BESIDE.get(kind, '')}",
                param="model",
            )
        return served


def _ways_to(name: str, served: Iterable[Served]) -> str:
    """The commands by which requests for that name would be answered."""
    if any(one.may_go for one in served):  # all that are on this disk
        way = f"`edgellm pull {name}` brings a model of that name here, and it is served then"
    else:
        way = f"`edgellm serve {name}` would load a model of that name"
    return f"{way}; `--alias {name}` lets the one that is served answer to it"


def _a(kind: Kind) -> str:
    return f"an {kind}" if kind == "embedding" else f"a {kind}"


def untagged(name: str) -> str:
    """Without Ollama's ":latest", which its clients put behind a name that has no tag."""
    return name.removesuffix(":latest")


def _plain(name: str) -> str:
    return untagged(name).casefold()
