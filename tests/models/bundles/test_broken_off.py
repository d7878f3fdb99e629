"""An export that was broken off is no bundle, goes on, and costs no other what it has written."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from bundle_runs import (
    DATA,
    FILES,
    PLACE,
    REPO,
    SMALL,
    bring_all,
    content,
    export,
    filled,
)

from edgellm.errors import BadBundle, BadRequest
from edgellm.models.bundles.layout import MANIFEST, PENDING
from edgellm.models.store import Store

EXPORT_AND_DIE = """
    import os, sys
    from pathlib import Path
    from bundle_runs import export
    from edgellm.models.store import Store

    def die(done, total, rate):
        if done >= int(sys.argv[3]):
            os.kill(os.getpid(), 9)

    piece_bytes = int(sys.argv[4]) or None
    export(Store(Path(sys.argv[1])), sys.argv[2], progress=die, piece_bytes=piece_bytes)
"""


def killed_export(store: Store, out: Path, at_bytes: int, piece_bytes: int = 0) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(EXPORT_AND_DIE), store.root, out, str(at_bytes),
         str(piece_bytes)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )  # fmt: skip
    assert done.returncode == -9


@pytest.mark.parametrize("piece_bytes", [0, 3 << 20])
@pytest.mark.parametrize("at_bytes", [1, 100_000, 5 << 20, 9 << 20])
def test_a_killed_export_is_no_bundle_and_goes_on(
    store: Store, tmp_path: Path, at_bytes: int, piece_bytes: int
):
    out = tmp_path / "out"
    killed_export(store, out, at_bytes, piece_bytes)
    assert not (out / MANIFEST).exists()
    with pytest.raises(BadBundle, match="broken off"):
        bring_all(Store(tmp_path / "there"), out)
    export(store, out, piece_bytes=piece_bytes or None)
    assert not (out / PENDING).exists()
    assert not [*out.rglob("*.part"), *out.rglob("*.part.json")]
    (path,) = bring_all(Store(tmp_path / "there"), out)
    assert path.read_bytes() == DATA


def test_what_was_written_before_a_kill_is_not_written_again(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    killed_export(store, out, 9 << 20)
    part = next(out.rglob("*.edgellm.part"))
    assert part.stat().st_size >= 4 << 20
    with part.open("r+b") as file:  # so that one sees whose bytes they are
        file.write(b"mark")
    export(store, out)
    assert (out / PLACE / "tiny-Q8_0.gguf").read_bytes() == b"mark" + DATA[4:]


def test_a_part_of_another_content_is_not_gone_on_with(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    killed_export(store, out, 9 << 20)
    other = bytes(reversed(DATA))  # as long, of a newer commit
    newer = filled(tmp_path / "hub", FILES | {"tiny-Q8_0.gguf": other}, commit="1" * 40)
    export(newer, out)
    assert (out / PLACE / "tiny-Q8_0.gguf").read_bytes() == other


def test_a_kill_while_an_older_bundle_is_renewed_leaves_nothing_that_says_too_much(
    store: Store, tmp_path: Path
):
    out = tmp_path / "out"
    export(store, out)
    newer = filled(tmp_path / "hub", FILES | {"tiny-Q8_0.gguf": DATA[::-1]}, commit="1" * 40)
    killed_export(newer, out, 5 << 20)
    assert not (out / MANIFEST).exists()
    export(newer, out)
    (path,) = bring_all(Store(tmp_path / "there"), out)
    assert path.read_bytes() == DATA[::-1]


def test_an_export_leaves_what_another_that_was_broken_off_has_written(
    store: Store, tmp_path: Path
):
    out = tmp_path / "out"
    killed_export(store, out, 9 << 20)
    before = {path: path.read_bytes() for path in out.rglob("*.edgellm.part*")}
    assert before
    filled(tmp_path / "hub", SMALL, repo="org/small")
    done = export(store, out, "hf.co/org/small:Q4_0")
    assert done.unfinished == (f"hf.co/{REPO}:Q8_0",)
    assert {path: path.read_bytes() for path in out.rglob("*.edgellm.part*")} == before
    assert len(bring_all(Store(tmp_path / "there"), out)) == 1
    again = export(store, out, "hf.co/org/small:Q4_0")
    assert (again.sha256, again.unfinished) == (done.sha256, done.unfinished)
    both = export(store, out, f"hf.co/{REPO}:Q8_0")
    assert both.unfinished == ()
    assert not (out / PENDING).exists()
    assert not [*out.rglob("*.edgellm.part*")]
    assert len(bring_all(Store(tmp_path / "there"), out)) == 2


def test_what_was_broken_off_makes_place_for_what_cannot_lie_beside_it(
    store: Store, tmp_path: Path
):
    """Another commit's projector, under the same name."""
    out = tmp_path / "out"
    killed_export(store, out, 9 << 20)
    eyes = FILES | {"mmproj-F16.gguf": b"GGUF eyes", "tiny-Q4_0.gguf": DATA[:1000]}
    newer = filled(tmp_path / "hub", eyes, commit="1" * 40)
    done = export(newer, out, f"hf.co/{REPO}:Q4_0")
    assert done.unfinished == ()
    assert not [*out.rglob("*.edgellm.part*")]
    (path,) = bring_all(Store(tmp_path / "there"), out)
    assert (path.parent / "mmproj-F16.gguf").read_bytes() == b"GGUF eyes"


def test_a_stick_that_was_in_other_hands_leads_no_export_elsewhere(store: Store, tmp_path: Path):
    """By a link in a folder's place, in a part's, in that of a tar that is being made."""
    out, mine = tmp_path / "out", tmp_path / "mine"
    export(store, out)
    (out / "models").rename(mine)
    (out / "models").symlink_to(mine)
    filled(tmp_path / "hub", FILES | {"tiny-Q8_0.gguf": DATA[::-1]}, commit="1" * 40)
    before = content(mine)
    with pytest.raises(BadRequest, match="is a link"):
        export(store, out)
    assert content(mine) == before
    (out / "models").unlink()

    killed_export(store, out, 9 << 20)
    part = next(out.rglob("tiny*.edgellm.part"))
    secret = tmp_path / "secret"
    secret.write_bytes(DATA[: 4 << 20])
    part.unlink()
    part.symlink_to(secret)
    (tmp_path / "out.tar.part").symlink_to(secret)
    export(store, out)
    export(store, tmp_path / "out.tar")
    assert secret.read_bytes() == DATA[: 4 << 20]
    for place in ("out", "out.tar"):
        (path,) = bring_all(Store(tmp_path / f"there-{place}"), tmp_path / place)
        assert path.read_bytes() == DATA[::-1]
