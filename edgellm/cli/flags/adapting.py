"""How a model is made to differ from its file: LoRA adapters beside it, another pooling."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from edgellm.files import path_of
from edgellm.values import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgellm.cli.preparing.resolve import Resolved
    from edgellm.models.gguf.header import GGUFHeader
    from edgellm.runner.adapters import Adapter
    from edgellm.selector.plan import Candidate

POOLINGS = ("none", "mean", "cls", "last", "rank")


@frozen(kw_only=True)
class Adapting:
    HEADINGS: ClassVar = {"lora": "LoRA and pooling"}

    lora: Annotated[
        list[str] | None,
        typer.Option(
            "--lora",
            help="A LoRA adapter for all requests that name no other, at SCALE (1); repeatable.",
            metavar="FILE[=SCALE]",
        ),
    ] = None
    lora_dir: Annotated[
        str | None,
        typer.Option(help="Adapters in here may be loaded over HTTP.", metavar="DIR"),
    ] = None
    pooling: Annotated[
        str | None,
        typer.Option(
            help=f"Serve it as an embedding model: {', '.join(POOLINGS)}.", metavar="POOLING"
        ),
    ] = None

    def applied(self, resolved: "Resolved") -> "Resolved":
        """Raises BadRequest, ModelNotFound, BadGGUF, StorageError. What can be known before
        anything is downloaded; the rest when the file is here (see `adapted`)."""
        from edgellm.errors import BadRequest

        if self.pooling is not None and self.pooling not in POOLINGS:
            raise BadRequest(
                f"--pooling {self.pooling!r} is not known", hint=f"one of {', '.join(POOLINGS)}"
            )
        if self.pooling and self.lora:
            raise BadRequest("--lora is for models that write text; --pooling makes it embed")
        if self.lora_dir is not None and not path_of(self.lora_dir).is_dir():
            raise BadRequest(f"--lora-dir: there is no folder {self.lora_dir}")
        found = replace(resolved, pooling=self.pooling, adapters=_adapters(self.lora or ()))
        for adapter in found.adapters:
            _check_is_there(Path(adapter.path))
        return replace(found, candidates=tuple(pooled(one, found) for one in found.candidates))


def pooled(candidate: "Candidate", resolved: "Resolved") -> "Candidate":
    """As an embedding model, where that was asked for. Raises BadRequest."""
    from edgellm.errors import BadRequest

    if resolved.pooling is None:
        return candidate
    tensors = [tensor for header in candidate.headers for tensor in header.tensors]
    if resolved.pooling == "rank" and not any(one.name.startswith("cls") for one in tensors):
        raise BadRequest(
            f"--pooling rank: {candidate.name} has no classifier (cls) that could rank",
            hint="serve a reranking model",
        )
    return replace(candidate, spec=replace(candidate.spec, pooling=resolved.pooling))


def with_adapters(candidate: "Candidate", adapters: "Sequence[Adapter]") -> "Candidate":
    """What it takes with them, for planning: by arithmetic, since llama.cpp's own figures are
    asked for by a model's headers alone. Raises BadGGUF, BadRequest, ModelNotFound."""
    from edgellm.errors import BadRequest
    from edgellm.models.anatomy.adapters import with_adapter
    from edgellm.runner.adapters import read_adapter

    if not adapters:
        return candidate
    spec = candidate.spec
    if spec.is_embedding:
        raise BadRequest(f"--lora: {candidate.name} is an embedding model and takes no adapters")
    for adapter in adapters:
        spec = with_adapter(spec, read_adapter(Path(adapter.path), candidate.headers))
    none: tuple[GGUFHeader, ...] = ()
    return replace(candidate, spec=spec, headers=none)


def _adapters(given: "Sequence[str]") -> "tuple[Adapter, ...]":
    """Each by its file's name. Raises BadRequest."""
    from edgellm.runner.adapters import AdapterList

    found = AdapterList()
    for text in given:
        path, scale = _parsed(text)
        found.add(found.new(path.stem, str(path.resolve()), scale))
    return tuple(found)


def _parsed(text: str) -> tuple[Path, float]:
    """ "style.gguf=0.5" -> the path, 0.5. Raises BadRequest."""
    from edgellm.errors import BadRequest
    from edgellm.runner.adapters import MAX_SCALE

    name, mark, number = text.rpartition("=")
    if not mark or "/" in number:  # a path may have the mark itself
        return path_of(text), 1.0
    try:
        scale = float(number)
    except ValueError:
        scale = float("nan")
    if not -MAX_SCALE <= scale <= MAX_SCALE:
        raise BadRequest(
            f"--lora {text}: {number!r} is no scale from {-MAX_SCALE:g} to {MAX_SCALE:g}",
            hint="--lora FILE=0.5",
        )
    return path_of(name), scale


def _check_is_there(path: Path) -> None:
    """Raises ModelNotFound, StorageError, BadGGUF."""
    from edgellm.errors import ModelNotFound
    from edgellm.models import local

    if not os.path.exists(path):  # noqa: PTH110 - which raises where a name is too long
        raise ModelNotFound(f"--lora: there is no file {path}")
    local.read_header(path)
