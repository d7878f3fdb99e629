"""A cache with made-up models, and bundles made of it."""

import hashlib
import io
import os
import random
from datetime import UTC, datetime
from pathlib import Path

from edgellm.models.bundles.gathering import gather
from edgellm.models.bundles.importing import bring, chosen
from edgellm.models.bundles.reading import opened
from edgellm.models.bundles.writing import Made, Written, write_bundle
from edgellm.models.store import Store

REPO = "org/tiny-GGUF"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MADE = Made("edgellm 0.1.0", datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC))
TOLD_AT_S = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
DATA = random.Random(5).randbytes(10 << 20)  # more than is read at once
LICENCE = b"Do as you like.\n"
FILES = {"tiny-Q8_0.gguf": DATA, "mmproj-F16.gguf": DATA[:70_000], "LICENSE": LICENCE}
SMALL = {"small-Q4_0.gguf": b"GGUF small", "LICENSE": LICENCE}
DEMO_REPO = "org/demo-GGUF"
DEMO_NAME = f"hf.co/{DEMO_REPO}:Q8_0"
PLACE = f"models/{REPO}"  # in a bundle
TINY = f"{PLACE}/tiny-Q8_0.gguf"

KINDS = ["folder", "pieces", "tar", "pipe"]  # of bundles


class Passing(io.BytesIO):
    """What a pipe gives: nothing twice."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation("seek")


def no_progress(done: int, total: int, rate: float | None) -> None:
    pass


def filled(
    root: Path,
    files: dict[str, bytes] = FILES,
    repo: str = REPO,
    commit: str = COMMIT,
    told_at_s: float = TOLD_AT_S,
) -> Store:
    """As `pull` leaves it: what git itself keeps goes by git's digest."""
    folder = root / f"models--{repo.replace('/', '--')}"
    for path, data in files.items():
        place = folder / "snapshots" / commit / path
        blob = folder / "blobs" / digest(path, data)
        for parent in (place.parent, blob.parent):
            parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        place.unlink(missing_ok=True)
        place.symlink_to(os.path.relpath(blob, place.parent))
    ref = folder / "refs" / "main"
    ref.parent.mkdir(exist_ok=True)
    ref.write_text(commit)
    os.utime(ref, (told_at_s, told_at_s))
    return Store(root)


def digest(path: str, data: bytes) -> str:
    if path.endswith(".gguf"):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def export(
    store: Store,
    place: Path | str,
    *names: str,
    progress=no_progress,
    piece_bytes: int | None = None,
    stdout=None,
    key: Path | None = None,
) -> Written:
    """Of all models of the store, or of those that `list` calls so."""
    models = [one for one in store.list() if not names or one.name in names]
    gathered = [gather(store.root, model, "mit") for model in models]
    out = stdout or io.BytesIO()
    return write_bundle(str(place), gathered, MADE, out, progress, piece_bytes, key)


def made(
    store: Store, tmp_path: Path, kind: str, key: Path | None = None, piece_bytes: int = 3 << 20
) -> tuple[str, io.BytesIO]:
    """A bundle's place, and what comes by the standard input."""
    if kind == "pipe":
        export(store, "-", stdout=(out := io.BytesIO()), key=key)
        return "-", Passing(out.getvalue())
    place = tmp_path / ("out.tar" if kind == "tar" else "out")
    export(store, place, piece_bytes=piece_bytes if kind == "pieces" else None, key=key)
    return str(place), io.BytesIO()


def bring_all(
    store: Store,
    place: Path | str,
    *,
    stdin=None,
    progress=no_progress,
    signers: Path | None = None,
) -> list[Path]:
    with opened(str(place), stdin or io.BytesIO(), signers=signers) as bundle:
        return [bring(store, bundle, one, progress)[0] for one in chosen(bundle, ())]


def content(root: Path) -> dict[str, bytes]:
    """Of every file under it; what a link leads to isn't followed."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
