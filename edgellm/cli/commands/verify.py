"""`edgellm verify`: is what lies on the disks what was downloaded or exported?"""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import completing, options
from edgellm.units import DASH, format_bytes

if TYPE_CHECKING:
    from datetime import datetime

    from edgellm.models.bundles.manifest import BundledModel
    from edgellm.models.bundles.ssh_keygen import Signer
    from edgellm.models.bundles.verifying import State, Verdict
    from edgellm.models.store import Store
    from edgellm.models.stored import StoredModel

_MARKS = {"whole": "✓", "broken": "✗", "unknown": DASH}
_IS_BROKEN = 4


@dataclass(frozen=True, slots=True)
class _Verified:
    """A model, on this disk or in the bundle at `place`."""

    name: str
    place: str | None
    size_bytes: int
    state: "State"
    mends: str | None
    files: "tuple[Verdict, ...]"
    signed_by: "Signer | None" = None  # of a bundle; None: nobody asked
    made_at: "datetime | None" = None  # the bundle
    origin: str | None = None  # of a bundle, in words


def verify(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL|PLACE",
            help="Models of this disk, or bundles; all models of this disk, where none is named.",
            autocompletion=completing.downloaded,
        ),
    ] = None,
    signers: options.Signers = None,
    as_json: options.AsJSON = False,
) -> None:
    """Check that models on disk are still what was downloaded.

    Every byte is read again and held against its digest: a downloaded file's is its blob's name in
    the cache, a bundle's is in its manifest. All is read from the disk itself, not from what memory
    holds of it; that takes as long as the disk takes. ✓ is what was downloaded, ✗ is broken, –
    can't be told: a file copied in by hand has no digest. Ends with exit code 4 when something is
    broken.

    \b
      edgellm verify
      edgellm verify qwen3:8b
      edgellm verify /media/stick --signers ~/.ssh/allowed_signers
      edgellm verify --json | jq '.[] | select(.state == "broken")'
    """
    from edgellm.cli.output import print_json
    from edgellm.errors import BadRequest

    if signers and not any(map(_is_place, what or ())):
        raise BadRequest("--signers is for bundles", hint="edgellm verify PLACE --signers FILE")
    told = [] if what else [*_of_store(None)]
    for one in what or ():
        told += _of_bundle(one, signers) if _is_place(one) else _of_store(one)
    if as_json:
        print_json(told)
    else:
        print("\n".join(_lines(told)))
    if any(one.state == "broken" for one in told):
        raise typer.Exit(_IS_BROKEN)


def _is_place(text: str) -> bool:
    from edgellm.files import path_of
    from edgellm.models.bundles.reading import PASSING
    from edgellm.models.bundles.tarball import is_tar

    return text == PASSING or is_tar(text) or (path_of(text).is_dir() and not _is_stored(text))


def _is_stored(text: str) -> bool:
    """A name means the model before the folder, as everywhere; ./ORG/REPO is the folder."""
    from edgellm.cli.preparing.resolve import hub_reference_of
    from edgellm.cli.preparing.store import store_of
    from edgellm.errors import BadRequest, ModelNotFound
    from edgellm.models.names import parse_reference

    try:
        reference = hub_reference_of(parse_reference(text))
    except (BadRequest, ModelNotFound):
        return False
    return bool(store_of(options.config_from()).of(reference))


def _of_store(text: str | None) -> Iterator[_Verified]:
    from edgellm.cli.preparing.store import store_of
    from edgellm.cli.progress import ProgressLine
    from edgellm.models.bundles.gathering import belongings
    from edgellm.models.bundles.verifying import Reading, size_of, verify_stored

    store = store_of(options.config_from())
    models = _meant(store, text)
    sizes = [size_of(model.snapshot / name) for model in models for name in belongings(model)]
    with ProgressLine("verifying", what=None) as line:
        read = Reading(sum(sizes), line)
        found = [(model, verify_stored(store.root, model, read)) for model in models]
    for model, verdicts in found:
        state = _worst(verdicts)
        name = shlex.quote(model.name)
        mends = f"edgellm rm {name} && edgellm pull {name}"
        broken = [one.file for one in verdicts if one.state == "broken"]
        if broken and not {*broken} & {*model.files}:  # which other models may need, so `rm` leaves
            blobs = shlex.join(os.path.realpath(model.snapshot / file) for file in broken)
            mends = f"rm {blobs} && edgellm pull {name}"
        size_bytes = sum(one.size_bytes for one in verdicts)
        yield _Verified(model.name, None, size_bytes, state, mends if broken else None, verdicts)


def _meant(store: "Store", text: str | None) -> "Sequence[StoredModel]":
    """Raises BadRequest, ModelNotFound."""
    from edgellm.cli.preparing.resolve import hub_reference_of, is_demo
    from edgellm.errors import BadRequest, ModelNotFound
    from edgellm.files import path_of
    from edgellm.models.names import PathReference, parse_reference

    if text is None:
        return store.list()
    reference = parse_reference(text)
    if is_demo(reference):
        raise BadRequest("demo ships with edgellm and was not downloaded", hint="edgellm list")
    if isinstance(reference, PathReference):
        path = path_of(reference.path).absolute()
        if not os.path.lexists(path):  # a link that leads nowhere is a broken model's
            raise ModelNotFound(f"there is neither a file nor a bundle {text}")
        try:
            return (store.at(path),)
        except ModelNotFound:
            raise ModelNotFound(
                f"{text} is in no cache and in no bundle: nobody knows its digest",
                hint="sha256sum tells it; compare it with the page that the file is from",
            ) from None
    meant = hub_reference_of(reference)
    models = [
        one
        for one in store.of(meant)
        if meant.quant in (None, one.quant) and meant.file in (None, *one.files)
    ]
    if not models:
        raise ModelNotFound(f"{text} is not on this disk", hint="edgellm list shows what is")
    return models


def _of_bundle(place: str, signers: str | None) -> Iterator[_Verified]:
    from edgellm.cli.progress import ProgressLine
    from edgellm.models.bundles.reading import opened
    from edgellm.models.bundles.verifying import Reading, verify_bundled

    by = options.signers_of(options.config_from(bundle_signers=signers))
    with (
        opened(place, sys.stdin.buffer, signers=by) as bundle,
        ProgressLine(f"verifying {place}", what=None) as line,
    ):
        read = Reading(bundle.manifest.size_bytes, line)
        found = [(one, verify_bundled(bundle, one, read)) for one in bundle.manifest.models]
    for model, verdicts in found:
        state = _worst(verdicts)
        mends = _mending(place, model, verdicts) if state == "broken" else None
        yield _Verified(
            model.name, place, model.size_bytes, state, mends, verdicts,
            bundle.signed_by, bundle.manifest.made_at, bundle.origin,
        )  # fmt: skip


def _mending(place: str, model: "BundledModel", verdicts: "Sequence[Verdict]") -> str:
    """An export takes a file in a folder for whole that has its size: so what is broken goes."""
    from edgellm.files import path_of

    again = shlex.join(["edgellm", "export", model.name, "-o", place])
    broken = {one.file for one in verdicts if one.state == "broken"}
    parts = [model.parts(file) for file in model.files if file.path in broken]
    paths = [path_of(place) / name for of_file in parts for name, _ in of_file]
    here = [str(path) for path in paths if os.path.lexists(path)]
    return f"{shlex.join(['rm', *here])} && {again}" if here else again


def _worst(verdicts: "Sequence[Verdict]") -> "State":
    states = {one.state for one in verdicts}
    return "broken" if "broken" in states else "unknown" if "unknown" in states else "whole"


def _lines(told: "Sequence[_Verified]") -> Iterator[str]:
    from edgellm.cli.output import columns
    from edgellm.harmless import plain
    from edgellm.tables import table, wrapped

    if not told:
        yield "no model is here yet; `edgellm recommend` names some"
        return
    rows = [(_MARKS[one.state], one.name, format_bytes(one.size_bytes)) for one in told]
    yield table(("", "NAME", "SIZE"), rows, right="SIZE")
    for place, origin in {one.place: one.origin for one in told if one.place}.items():
        yield from ("", *wrapped(f"{plain(place or DASH)}: {origin}", columns()))
    for one in told:
        faults = [file for file in one.files if file.fault]
        if faults:
            yield f"\n{one.name}"
        for file in faults:
            yield from (
                f"  {line}" for line in wrapped(plain(f"{file.file}: {file.fault}"), columns())
            )
        if one.mends:
            yield f"  → {one.mends}"
