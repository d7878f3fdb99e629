"""Whether the model sees or hears, and through which projector: the flags, and what comes of them.

A projector that lies beside its model is used by itself. When it can't be, that is told and the
model is served for text; only a projector that the user names must do.
"""

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from edgellm.files import path_of
from edgellm.values import frozen

if TYPE_CHECKING:
    from edgellm.cli.preparing.resolve import Resolved
    from edgellm.selector.plan import Candidate


@frozen(kw_only=True)
class Seeing:
    HEADINGS: ClassVar = {"mmproj": "Pictures and sound"}

    mmproj: Annotated[
        str | None,
        typer.Option("--mmproj", help="The projector to see or hear through.", metavar="FILE"),
    ] = None
    no_mmproj: Annotated[
        bool, typer.Option("--no-mmproj", help="For text only, also where a projector is.")
    ] = False

    def given(self) -> tuple[str, ...]:
        """The flags that were set, as a user writes them."""
        through = (f"--mmproj {shlex.quote(self.mmproj)}",) if self.mmproj else ()
        return (*through, *(("--no-mmproj",) if self.no_mmproj else ()))

    def applied(self, resolved: "Resolved") -> "Resolved":
        """Raises BadRequest, ModelNotFound, BadGGUF."""
        from edgellm.errors import BadRequest

        if self.mmproj and self.no_mmproj:
            raise BadRequest("--mmproj and --no-mmproj exclude each other")
        named = path_of(self.mmproj) if self.mmproj else None
        found = replace(resolved, projector=named, no_projector=self.no_mmproj)
        if named and not resolved.is_local:  # the width is checked when the model is here
            size_bytes = _size_bytes(named)
            candidates = tuple(
                replace(one, projector=None, projector_bytes=size_bytes, modalities=None)
                for one in resolved.candidates
            )
        else:
            candidates = tuple(with_projector(one, found) for one in resolved.candidates)
        return replace(found, candidates=candidates)


def with_projector(candidate: "Candidate", resolved: "Resolved") -> "Candidate":
    """With the projector that it will be served with, checked where it is on this disk; or none."""
    from edgellm.cli.output import say
    from edgellm.errors import BadGGUF
    from edgellm.models.repo_files import RepoFile

    if resolved.no_projector or not candidate.headers:
        return replace(candidate, projector=None, projector_bytes=0)
    if resolved.projector:
        path = resolved.projector
        named = RepoFile(str(path), _size_bytes(path))
        return _through(path, replace(candidate, projector=named))
    beside = candidate.projector
    if beside is None or not Path(beside.path).is_file():
        return candidate
    try:
        return _through(Path(beside.path), candidate)
    except BadGGUF as error:
        say(f"left out: {error}")
        return replace(candidate, projector=None, projector_bytes=0)


def _through(path: Path, candidate: "Candidate") -> "Candidate":
    """What it takes, and of what. Raises ModelNotFound, StorageError, BadGGUF."""
    from edgellm.errors import BadGGUF
    from edgellm.models import local
    from edgellm.models.anatomy.projectors import (
        check_projector,
        modalities_of,
        projector_bytes,
    )

    header = local.read_header(path)
    try:
        check_projector(header, candidate.headers[0])
        n_bytes = projector_bytes(header)
        return replace(candidate, projector_bytes=n_bytes, modalities=modalities_of(header))
    except BadGGUF as error:
        raise BadGGUF(f"{path.name}: {error}", hint=error.hint) from error


def _size_bytes(path: Path) -> int:
    """Raises ModelNotFound, StorageError."""
    from edgellm.errors import ModelNotFound
    from edgellm.models import local

    if not os.path.exists(path):  # noqa: PTH110 - which raises where a name is too long
        raise ModelNotFound(f"--mmproj: there is no file {path}")
    try:
        return path.stat().st_size
    except OSError as error:
        raise local.unreadable(path, error) from error
