"""Where things lie in a bundle, under names that people and other programs can use:

    edgellm-bundle.json                    the manifest: written last in a folder, first in a tar
    edgellm-bundle.json.sig                who vouches for it, by OpenSSH: right behind it in a tar
    edgellm-bundle.sha256                  of every file, as `sha256sum -c` takes it
    README.txt
    models/ORG/REPO/<path>                 a file as its repository calls it
    models/ORG/REPO/<path>.part001 …       its pieces, where it is cut

A name from a stranger becomes a place here and nowhere else: `place_of` takes only safe ones.
"""

from collections.abc import Sequence
from typing import Final

from edgellm.errors import BadBundle, BadRequest
from edgellm.models.names import is_repo_name, is_safe_path

MANIFEST: Final = "edgellm-bundle.json"
PENDING: Final = f"{MANIFEST}.part"  # the manifest of an export that is not done
SIGNATURE: Final = f"{MANIFEST}.sig"
SUMS: Final = "edgellm-bundle.sha256"
README: Final = "README.txt"
MODELS: Final = "models"

FAT_PIECE_BYTES: Final = (4 << 30) - (1 << 20)  # FAT32 ends a file one byte before 4 GiB
MAX_PIECES: Final = 999


def place_of(repo: str, path: str) -> str:
    """Raises BadBundle for names that would leave their folder, on any system."""
    if not is_repo_name(repo):
        raise BadBundle(f"{repo!r} is no name of a repository")
    place = f"{MODELS}/{repo}/{path}"
    if not is_safe_path(place):
        raise BadBundle(f"{path!r} is no name for a file here")
    return place


def cut(size_bytes: int, piece_bytes: int | None) -> tuple[int, ...]:
    """The sizes of a file's pieces; () where it stays whole. Raises BadRequest for too many."""
    if piece_bytes is None or size_bytes <= piece_bytes:
        return ()
    n_whole, rest = divmod(size_bytes, piece_bytes)
    if n_whole + bool(rest) > MAX_PIECES:
        raise BadRequest(
            f"a file of {size_bytes} bytes in pieces of {piece_bytes} makes more than {MAX_PIECES}",
            hint="--piece-size 1GiB makes larger ones",
        )
    return (piece_bytes,) * n_whole + ((rest,) if rest else ())


def parts_of(place: str, size_bytes: int, pieces: Sequence[int]) -> tuple[tuple[str, int], ...]:
    """The names under which a file's bytes lie, in their order, with their sizes."""
    if not pieces:
        return ((place, size_bytes),)
    return tuple((f"{place}.part{n:03}", size) for n, size in enumerate(pieces, 1))
