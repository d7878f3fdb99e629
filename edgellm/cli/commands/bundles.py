"""`edgellm export` and `import`: models on their way to a machine without network."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgellm.cli.flags import completing, options
from edgellm.cli.flags.described import Described
from edgellm.units import DASH, format_bytes, format_rate

if TYPE_CHECKING:
    from pathlib import Path

    from edgellm.cli.preparing.bundled import Outlook
    from edgellm.models.bundles.importing import Coming
    from edgellm.models.bundles.reading import Bundle
    from edgellm.models.bundles.writing import Written
    from edgellm.models.store import Store

# Weights don't get smaller by packing, and nothing could be read from the middle then.
_NO_PLACES = (".gguf", ".gz", ".tgz", ".xz", ".bz2", ".zst", ".zip", ".7z")

Place = Annotated[
    str,
    typer.Argument(metavar="PLACE", help="A bundle: a folder, a .tar, or - for what comes piped."),
]


def export(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="What `edgellm list` shows, or a repository or catalog name: then it is fetched.",
            autocompletion=completing.downloaded,
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="PLACE", help="A folder, a file that ends in .tar, or -."
        ),
    ],
    described: Described,
    piece_size: Annotated[
        str | None,
        typer.Option(help="Cut larger files: 1GiB. Unasked on FAT32.", metavar="SIZE"),
    ] = None,
    sign: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Sign it with this ssh key, by ssh-keygen."),
    ] = None,
    limit_rate: options.LimitRate = None,
    offline: options.Offline = False,
    as_json: options.AsJSON = False,
) -> None:
    """Write models into a bundle for a machine without network.

    With what belongs to them: all parts, the projector, the licence; under the names that their
    repositories give them, so that other programs can use the files. Every byte is checked on the
    way. An interrupted export into a folder goes on the next time; into a folder that is a bundle
    already, the models are added. --on BOARD or --device choose the quantization for the other
    machine.

    \b
      edgellm export qwen3:8b -o /media/stick
      edgellm export qwen3:8b gemma3:12b -o models.tar
      edgellm export qwen3:30b-a3b --on rpi5 -o /media/stick
      edgellm export qwen3:8b -o /media/stick --sign ~/.ssh/id_ed25519
      edgellm export qwen3:8b -o - | ssh box edgellm import -
    """
    from edgellm.cli.output import print_json, say
    from edgellm.cli.preparing.exporting import brought, gathered
    from edgellm.files import path_of
    from edgellm.models.bundles.ssh_keygen import check_key
    from edgellm.units import parse_bytes

    piece_bytes = parse_bytes(piece_size) if piece_size else None
    _check_output(to, piece_bytes)
    key = None if sign is None else path_of(sign)
    if key:
        check_key(key)
    described.check_one_machine()
    config = options.config_from(limit_rate=limit_rate, offline=offline)
    here = [brought(model, config, described) for model in models]
    everything = gathered(here, config)
    if key:
        say(f"signing with {key}")  # or nobody knows whose passphrase ssh-keygen wants
    written = _written(to, everything, piece_bytes, key)
    if to == "-":
        say("\n".join(_summary(written)))
    elif as_json:
        print_json(_told(written))
    else:
        print("\n".join(_summary(written)))


def import_bundle(
    place: Place,
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Which of them; all, where none is named."),
    ] = None,
    only_list: Annotated[
        bool,
        typer.Option(
            "--list", help="Only tell what is in it, what of that is here, and its speed here."
        ),
    ] = False,
    sha256: Annotated[
        str | None,
        typer.Option(
            "--sha256", metavar="HEX", help="What `export` said; another bundle is refused."
        ),
    ] = None,
    signers: options.Signers = None,
    as_json: options.AsJSON = False,
) -> None:
    """Bring the models of a bundle into this machine's cache.

    Every byte is held against the bundle's manifest before it has a name here; what is here already
    is not read again, and what was broken off goes on. Then `edgellm list`, `serve --offline` and
    all tools that share Hugging Face's cache find the models. No network is asked.

    \b
      edgellm import /media/stick --list
      edgellm import /media/stick
      edgellm import models.tar qwen3:8b
      edgellm import /media/stick --signers ~/.ssh/allowed_signers
      ssh box edgellm export qwen3:8b -o - | edgellm import -
    """
    from edgellm.cli.output import print_json, say
    from edgellm.cli.preparing.bundled import outlooks
    from edgellm.cli.preparing.resolve import hub_reference_of
    from edgellm.cli.preparing.store import store_of
    from edgellm.models.bundles.importing import chosen, coming
    from edgellm.models.bundles.reading import opened
    from edgellm.models.names import parse_reference

    wanted = [hub_reference_of(parse_reference(model)) for model in models or ()]
    config = options.config_from(bundle_signers=signers)
    store = store_of(config)
    with opened(place, sys.stdin.buffer, sha256, options.signers_of(config)) as bundle:
        say(bundle.origin)
        listed = coming(store, chosen(bundle, wanted))
        if only_list:
            ahead = outlooks(bundle, [one.model for one in listed], config)
            if as_json:
                print_json(_listed(bundle, listed, ahead))
            else:
                print(_table(listed, ahead))
            return
        brought = [*_brought(store, bundle, listed)]
    if as_json:
        print_json({**_identity(bundle), "models": brought})
    else:
        print("\n".join(one["path"] for one in brought))


def _check_output(to: str, piece_bytes: int | None) -> None:
    from edgellm.errors import BadRequest
    from edgellm.units import MIB

    if piece_bytes is not None and piece_bytes < MIB:
        raise BadRequest(
            f"pieces of {format_bytes(piece_bytes)} are too small", hint="--piece-size 1GiB"
        )
    if to.lower().endswith(_NO_PLACES):
        raise BadRequest(
            f"{to} is no place for a bundle", hint="name a folder, or a file that ends in .tar"
        )
    if to == "-" and sys.stdout.isatty():
        raise BadRequest(
            "-o - writes a tar to the standard output, and that is a terminal",
            hint="edgellm export MODEL -o - | ssh box edgellm import -",
        )


def _written(to: str, gathered: Any, piece_bytes: int | None, key: "Path | None") -> "Written":
    from datetime import UTC, datetime

    from edgellm import __version__
    from edgellm.cli.progress import ProgressLine
    from edgellm.models.bundles.reading import PASSING
    from edgellm.models.bundles.tarball import is_tar
    from edgellm.models.bundles.writing import Made, write_bundle

    made = Made(f"edgellm {__version__}", datetime.now(UTC).replace(microsecond=0))
    what = None if to == PASSING or is_tar(to) else "export"
    with ProgressLine(f"exporting to {to}", what=what) as line:
        return write_bundle(to, gathered, made, sys.stdout.buffer, line, piece_bytes, key)


def _told(written: "Written") -> dict[str, Any]:
    return {
        "place": written.place, "sha256": written.sha256, "in_pieces": written.is_cut,
        "size_bytes": written.manifest.size_bytes, "models": written.manifest.models,
        "signed_with": written.signed_with, "gone": written.gone, "unfinished": written.unfinished,
    }  # fmt: skip


def _summary(written: "Written") -> Iterator[str]:
    from edgellm.cli.output import columns
    from edgellm.harmless import plain
    from edgellm.tables import table

    rows = [
        (one.name, format_bytes(one.size_bytes), plain(one.license or DASH))
        for one in written.manifest.models
    ]
    yield table(("NAME", "SIZE", "LICENCE"), rows, right="SIZE", columns=columns())
    for name in written.gone:
        yield f"\n{name} was in it, and its files were taken away"
    for name in written.unfinished:
        yield f"\n{name} is there in part; its own export goes on with it"
    if written.is_cut:
        yield "\nlarge files are in pieces, which `import` joins; README.txt there says how else"
    yield f"\nsha256 of the manifest, for `import --sha256`:\n{written.sha256}"
    if written.signed_with:
        yield f"\nsigned with the key {written.signed_with}"
    if written.place != "-":
        place = shlex.quote(written.place)
        yield f"\nto read it back from its disk:  edgellm verify {place}"
        signers = " --signers FILE" if written.signed_with else ""
        yield f"on the other machine:           edgellm import {place}{signers}"


def _brought(
    store: "Store", bundle: "Bundle", listed: "Sequence[Coming]"
) -> Iterator[dict[str, Any]]:
    """Raises BadBundle, StorageError: before the first byte, where all together have no room."""
    from edgellm.cli.output import say
    from edgellm.cli.progress import ProgressLine
    from edgellm.models.bundles.importing import bring, check_room

    check_room(store, listed)
    for one in listed:
        model = one.model
        if one.missing_bytes == 0:
            say(f"{model.name} is here already")
            path, stays_at = bring(store, bundle, model)  # which gives it its names
        else:
            with ProgressLine(model.name, what="import") as line:
                path, stays_at = bring(store, bundle, model, line)
        if stays_at:
            say(f"{model.name}: main stays at {stays_at[:12]}, which the hub told of later")
        yield {"name": model.name, "path": str(path), "was_here": one.missing_bytes == 0}


def _listed(
    bundle: "Bundle", listed: "Sequence[Coming]", ahead: "Sequence[Outlook]"
) -> dict[str, Any]:
    models = [
        {
            "name": one.model.name, "repo": one.model.repo, "commit": one.model.commit,
            "quant": one.model.quant, "license": one.model.license,
            "size_bytes": one.model.size_bytes, "missing_bytes": one.missing_bytes,
            "fits": outlook.fits, "decode_tok_s": outlook.decode_tok_s,
        }
        for one, outlook in zip(listed, ahead, strict=True)
    ]  # fmt: skip
    manifest = bundle.manifest
    about = {"format": manifest.format, "made_by": manifest.made_by}
    return {**about, **_identity(bundle), "models": models}


def _identity(bundle: "Bundle") -> dict[str, Any]:
    return {
        "made_at": bundle.manifest.made_at, "sha256": bundle.sha256,
        "has_signature": bundle.has_signature, "signed_by": bundle.signed_by,
    }  # fmt: skip


def _table(listed: "Sequence[Coming]", ahead: "Sequence[Outlook]") -> str:
    from edgellm.cli.output import columns
    from edgellm.harmless import plain
    from edgellm.tables import table

    rows = [
        (
            one.model.name,
            format_bytes(one.model.size_bytes),
            _here(one),
            "does not fit" if outlook.fits is False else format_rate(outlook.decode_tok_s, ""),
            plain(one.model.license or DASH),
        )
        for one, outlook in zip(listed, ahead, strict=True)
    ]
    headings = ("NAME", "SIZE", "HERE", "TOK/S", "LICENCE")
    return table(headings, rows, right="SIZE,TOK/S", columns=columns())


def _here(one: "Coming") -> str:
    if one.missing_bytes == 0:
        return "yes"
    here_bytes = one.model.size_bytes - one.missing_bytes
    return f"{format_bytes(here_bytes)} of it" if here_bytes else "no"
