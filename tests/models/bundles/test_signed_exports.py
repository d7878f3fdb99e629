"""Whoever writes to a signed bundle has its key, or changes nothing of what was signed."""

import shutil
from pathlib import Path

import pytest
from bundle_runs import (
    DATA,
    LICENCE,
    SMALL,
    bring_all,
    content,
    export,
    filled,
)
from bundle_signers import SMALL_NAME, made, signer, stop

from edgellm.errors import BadBundle, BadRequest
from edgellm.models.bundles.layout import MANIFEST, PENDING, SIGNATURE
from edgellm.models.store import Store

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return filled(tmp_path / "hub", {"tiny-Q8_0.gguf": DATA[:5000], "LICENSE": LICENCE})


def test_models_are_added_by_whoever_has_signed_what_is_there(
    store: Store, key: Path, signers: Path, tmp_path: Path
):
    out = tmp_path / "out"
    export(store, out, key=key)
    filled(store.root, SMALL, repo="org/small")
    both = export(store, out, SMALL_NAME, key=key)
    assert len(both.manifest.models) == 2
    assert len(bring_all(Store(tmp_path / "there"), out, signers=signers)) == 2


@pytest.mark.parametrize("before", ["unsigned", "another's", "altered"])
def test_nobody_signs_what_was_there_and_is_not_theirs(
    store: Store, key: Path, other: Path, tmp_path: Path, before: str
):
    """Whoever had the stick meanwhile may have put it there."""
    out = tmp_path / "out"
    export(store, out, key={"unsigned": None, "another's": other, "altered": key}[before])
    if before == "altered":
        text = (out / MANIFEST).read_text().replace('"mit"', '"MIT"')
        (out / MANIFEST).write_text(text)
    there = content(out)
    filled(store.root, SMALL, repo="org/small")
    with pytest.raises(BadRequest, match="is not signed with") as told:
        export(store, out, SMALL_NAME, key=key)
    assert "name it too" in told.value.hint
    assert content(out) == there
    export(store, out, key=key)  # both, as this disk has them
    assert len(bring_all(Store(tmp_path / "there"), out)) == 2


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_a_signed_bundle_is_not_changed_without_a_key(
    store: Store, key: Path, signers: Path, tmp_path: Path, kind: str
):
    place = Path(made(store, tmp_path, kind, key)[0])
    before = place.read_bytes() if kind == "tar" else content(place)
    filled(store.root, SMALL, repo="org/small")
    with pytest.raises(BadRequest, match="is signed") as told:
        export(store, place)
    assert "--sign KEY" in told.value.hint
    assert (place.read_bytes() if kind == "tar" else content(place)) == before
    export(store, place, key=key)
    assert signer(place, signers)


def test_what_is_missing_in_a_signed_bundle_is_mended_without_a_key(
    store: Store, key: Path, signers: Path, tmp_path: Path
):
    out = tmp_path / "out"
    export(store, out, key=key)
    next(out.rglob("*.gguf")).unlink()
    export(store, out)
    assert len(bring_all(Store(tmp_path / "there"), out, signers=signers)) == 1


def test_mending_a_signed_bundle_goes_on_without_a_key_where_it_was_broken_off(
    store: Store, key: Path, signers: Path, tmp_path: Path
):
    out = tmp_path / "out"
    first = export(store, out, key=key)
    next(out.rglob("*.gguf")).unlink()
    with pytest.raises(KeyboardInterrupt):
        export(store, out, progress=stop)
    assert not (out / MANIFEST).exists()
    assert export(store, out).sha256 == first.sha256
    assert signer(out, signers)


def test_a_signed_export_that_was_broken_off_is_not_ended_without_the_key(
    store: Store, key: Path, signers: Path, tmp_path: Path
):
    out = tmp_path / "out"
    export(store, out, key=key)
    filled(store.root, SMALL, repo="org/small")
    with pytest.raises(KeyboardInterrupt):
        export(store, out, SMALL_NAME, key=key, progress=stop)
    assert signer(out, signers)
    with pytest.raises(BadRequest, match="is signed"):
        export(store, out, SMALL_NAME)
    export(store, out, SMALL_NAME, key=key)
    assert len(bring_all(Store(tmp_path / "there"), out, signers=signers)) == 2


def test_an_export_that_was_ended_between_its_signature_and_its_manifest_goes_on(
    store: Store, key: Path, signers: Path, tmp_path: Path
):
    out = tmp_path / "out"
    export(store, out, key=key)
    before = (out / MANIFEST).read_bytes()
    filled(store.root, SMALL, repo="org/small")
    export(store, out, SMALL_NAME, key=key)
    (out / MANIFEST).rename(out / PENDING)
    (out / MANIFEST).write_bytes(before)
    with pytest.raises(BadBundle, match="not its manifest's"):
        signer(out, signers)
    export(store, out, SMALL_NAME, key=key)
    assert len(bring_all(Store(tmp_path / "there"), out, signers=signers)) == 2


def test_the_same_export_with_the_same_key_writes_nothing(store: Store, key: Path, tmp_path: Path):
    out = tmp_path / "out"
    first = export(store, out, key=key)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert export(store, out, key=key) == first
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_bundle_that_is_there_is_signed_where_it_lies(
    store: Store, key: Path, signers: Path, tmp_path: Path
):
    out = tmp_path / "out"
    export(store, out)
    blob = next(out.rglob("*.gguf")).stat().st_ino
    export(store, out, key=key)
    assert signer(out, signers)
    assert next(out.rglob("*.gguf")).stat().st_ino == blob


def test_a_key_that_signs_nothing_leaves_nothing(store: Store, key: Path, tmp_path: Path, capfd):
    key.write_text("no key")
    key.with_name(f"{key.name}.pub").unlink()
    for name in ("out", "out.tar"):
        with pytest.raises(BadRequest, match="signs nothing with"):
            export(store, tmp_path / name, key=key)
    assert content(tmp_path).keys().isdisjoint({f"out/{MANIFEST}", f"out/{PENDING}", "out.tar"})
    assert "alice key" in capfd.readouterr().err  # what ssh-keygen itself says


def test_a_signed_export_that_was_broken_off_goes_on_and_is_signed(
    store: Store, key: Path, signers: Path, tmp_path: Path
):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        export(store, out, key=key, progress=stop)
    assert {*content(out)} & {MANIFEST, SIGNATURE} == set()
    export(store, out, key=key)
    assert signer(out, signers)
