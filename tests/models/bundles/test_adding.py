"""Models are added to a bundle that is there, and none of those in it is lost by it."""

import io
import json
from pathlib import Path

import pytest
from bundle_runs import (
    DATA,
    FILES,
    LICENCE,
    MADE,
    PLACE,
    REPO,
    SMALL,
    bring_all,
    content,
    export,
    filled,
    no_progress,
)

from edgellm.errors import BadBundle, BadRequest
from edgellm.models.bundles.folder import write_folder
from edgellm.models.bundles.gathering import gather
from edgellm.models.bundles.layout import MANIFEST
from edgellm.models.bundles.manifest import FORMAT, Manifest
from edgellm.models.bundles.reading import opened
from edgellm.models.bundles.verifying import Reading, verify_bundled
from edgellm.models.store import Store


def test_a_newer_commit_takes_the_place_of_the_older_one(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    export(store, out)
    newer = filled(tmp_path / "hub", FILES | {"tiny-Q8_0.gguf": DATA[::-1]}, commit="1" * 40)
    export(newer, out)
    assert (out / PLACE / "tiny-Q8_0.gguf").read_bytes() == DATA[::-1]
    (model,) = json.loads((out / MANIFEST).read_text())["models"]
    assert model["commit"] == "1" * 40


def test_models_are_added_to_a_bundle_that_is_there(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    export(store, out)
    filled(tmp_path / "hub", SMALL, repo="org/small")
    both = export(store, out, "hf.co/org/small:Q4_0")
    assert [one.name for one in both.manifest.models] == [
        "hf.co/org/small:Q4_0",
        f"hf.co/{REPO}:Q8_0",
    ]
    assert len(bring_all(Store(tmp_path / "there"), out)) == 2


def test_what_another_export_has_brought_meanwhile_is_kept(store: Store, tmp_path: Path):
    """Its manifest is read when nobody else writes there, and not before."""
    out = tmp_path / "out"
    filled(tmp_path / "other", SMALL, repo="org/small")
    gathered = gather(tmp_path / "other", Store(tmp_path / "other").list()[0], "mit")
    model = gathered.model
    paths = {
        model.place(file): path for file, path in zip(model.files, gathered.paths, strict=True)
    }
    alone = Manifest(FORMAT, MADE.at, MADE.by, (model,))  # as it was before the other came
    export(store, out)
    both = write_folder(out, alone, paths, no_progress)[0].manifest
    assert [one.repo for one in both.models] == ["org/small", REPO]
    assert len(bring_all(Store(tmp_path / "there"), out)) == 2


def test_a_model_that_was_taken_from_the_bundle_is_not_kept_in_it_and_told(
    store: Store, tmp_path: Path
):
    out = tmp_path / "out"
    export(store, out)
    (out / PLACE / "tiny-Q8_0.gguf").unlink()
    filled(tmp_path / "hub", SMALL, repo="org/small")
    left = export(store, out, "hf.co/org/small:Q4_0")
    assert [one.name for one in left.manifest.models] == ["hf.co/org/small:Q4_0"]
    assert left.gone == (f"hf.co/{REPO}:Q8_0",)


@pytest.mark.parametrize("fault", ["gone", "cut"])
def test_a_model_of_which_something_is_missing_is_not_lost_by_what_is_added(
    store: Store, tmp_path: Path, fault: str
):
    out = tmp_path / "out"
    export(store, out, piece_bytes=3 << 20)
    piece = out / PLACE / "tiny-Q8_0.gguf.part002"
    data = piece.read_bytes()
    piece.unlink()
    if fault == "cut":
        piece.write_bytes(data[:-1])
    before = content(out)
    filled(tmp_path / "hub", SMALL, repo="org/small")
    with pytest.raises(BadRequest, match=r"tiny-GGUF:Q8_0.*part002") as told:
        export(store, out, "hf.co/org/small:Q4_0")
    assert "name it too" in told.value.hint
    assert content(out) == before
    export(store, out, piece_bytes=3 << 20)
    assert len(bring_all(Store(tmp_path / "there"), out)) == 2


def test_what_is_missing_is_mended_by_the_same_export(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    first = export(store, out)
    (out / PLACE / "tiny-Q8_0.gguf").unlink()
    assert export(store, out).sha256 == first.sha256
    (path,) = bring_all(Store(tmp_path / "there"), out)
    assert path.read_bytes() == DATA


def test_what_two_models_share_comes_back_with_one_of_them(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    filled(tmp_path / "hub", FILES | {"tiny-Q4_0.gguf": DATA[:1000]})
    export(store, out)
    (out / PLACE / "mmproj-F16.gguf").unlink()
    export(store, out, f"hf.co/{REPO}:Q4_0")
    assert len(bring_all(Store(tmp_path / "there"), out)) == 2


@pytest.mark.parametrize("pieces", [(3000, None), (None, 3000), (3000, 20_000)])
def test_what_a_new_model_shares_is_cut_as_it_lies_there(
    store: Store, tmp_path: Path, pieces: tuple[int | None, int | None]
):
    """Or its projector would be named in other pieces, and nobody had written them."""
    small = {"a-Q8_0.gguf": DATA[:9000], "mmproj-F16.gguf": DATA[:5000], "LICENSE": LICENCE}
    filled(tmp_path / "hub", small | {"a-Q4_0.gguf": DATA[:100]}, repo="org/a")
    out = tmp_path / "out"
    export(store, out, "hf.co/org/a:Q4_0", piece_bytes=pieces[0])
    export(store, out, "hf.co/org/a:Q8_0", piece_bytes=pieces[1])
    with opened(str(out), io.BytesIO()) as bundle:
        read = Reading(1, no_progress)
        found = [verify_bundled(bundle, one, read) for one in bundle.manifest.models]
    assert {one.state for verdicts in found for one in verdicts} == {"whole"}
    first, _ = bring_all(Store(tmp_path / "there"), out)
    assert (first.parent / "mmproj-F16.gguf").read_bytes() == DATA[:5000]


def test_another_commits_projector_does_not_hide_behind_other_pieces(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    export(store, out, piece_bytes=1 << 20)
    eyes = FILES | {"mmproj-F16.gguf": DATA[1:70_001], "tiny-Q4_0.gguf": DATA[:100]}
    newer = filled(tmp_path / "hub", eyes, commit="1" * 40)
    with pytest.raises(BadBundle, match=r"two files at models/org/tiny-GGUF/mmproj"):
        export(newer, out, f"hf.co/{REPO}:Q4_0", piece_bytes=50_000)


def test_a_tar_is_not_written_over_one_that_has_more_in_it(store: Store, tmp_path: Path):
    out = tmp_path / "out.tar"
    export(store, out)
    before = out.read_bytes()
    filled(tmp_path / "hub", SMALL, repo="org/small")
    with pytest.raises(BadRequest, match="tiny-GGUF:Q8_0 in it") as told:
        export(store, out, "hf.co/org/small:Q4_0")
    assert "into a folder" in str(told.value.hint)
    assert out.read_bytes() == before
    export(store, out)  # both
    assert len(bring_all(Store(tmp_path / "there"), out)) == 2
