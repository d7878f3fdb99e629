"""What people read who find the bundle: what is in it, what to do with it without edgellm."""

from collections.abc import Iterator

from edgellm.harmless import plain
from edgellm.models.bundles.layout import SUMS
from edgellm.models.bundles.manifest import BundledFile, BundledModel, Manifest
from edgellm.units import DASH, format_bytes

FIRST_LINE = "Language models, in a bundle made by edgellm."

_WITH_EDGELLM = """\
With edgellm, on a machine that needs no network:

    edgellm import {place}           # into Hugging Face's cache, every byte checked
    edgellm serve {name} --offline

Without it: the files under models/ are what their repositories have, under the same names. Whatever
reads GGUF reads them where they lie:

    llama-server -m "models/{file}"

To check what was copied:

    sha256sum -c {sums}              # on macOS: shasum -a 256 -c {sums}
"""
_PIECES = """\
Some files are in pieces, for media that hold none as large. edgellm import joins them by itself;
without it they are joined first, in a folder that has the room:

{commands}

On Windows: copy /b "NAME.part001"+"NAME.part002" "NAME", with all pieces in their order.
"""


def readme_text(manifest: Manifest) -> str:
    first = manifest.models[0]
    model_file = first.model.files[0]
    parts = [
        FIRST_LINE,
        "\n".join(_listed(manifest)),
        _WITH_EDGELLM.format(
            place="THIS-FOLDER-OR-TAR", name=first.name, sums=SUMS,
            file=f"{first.repo}/{model_file.path}",
        ),
    ]  # fmt: skip
    pieces = [(model, file) for model, file in manifest.files if file.pieces]
    if pieces:
        parts.append(_PIECES.format(commands="\n".join(_joining(*one) for one in pieces)))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def sums_text(manifest: Manifest) -> str:
    """As `sha256sum` writes it; of a file in pieces, what they make when they are joined."""
    return "".join(f"{file.sha256}  {model.place(file)}\n" for model, file in manifest.files)


def _listed(manifest: Manifest) -> Iterator[str]:
    for model in manifest.models:
        yield f"  {plain(model.name)}"
        yield f"      {format_bytes(model.size_bytes)}, licence: {plain(model.license or DASH)}"
        yield f"      from {model.repo}, commit {model.commit[:12]}"


def _joining(model: BundledModel, file: BundledFile) -> str:
    """Pieces sort as they are to be joined: their numbers have three digits."""
    place = model.place(file)
    return f'    cat "{place}".part??? > "{file.path.rpartition("/")[2]}"'
