"""Every byte is held against its digest: a blob's is its name, a bundle's is in its manifest."""

import io
import os
from pathlib import Path

import pytest
from bundle_runs import DATA, FILES, export, filled

from edgellm.errors import BadBundle
from edgellm.models.bundles.reading import opened
from edgellm.models.bundles.verifying import Reading, Verdict, verify_bundled, verify_stored
from edgellm.models.store import Store

TOTAL = sum(map(len, FILES.values()))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return filled(tmp_path / "hub")


def stored(store: Store) -> dict[str, Verdict]:
    seen: list[int] = []
    (model,) = store.list()
    total_bytes = sum(path.stat().st_size for path in model.snapshot.iterdir())
    read = Reading(total_bytes, lambda done, total, rate: seen.append(done))
    verdicts = verify_stored(store.root, model, read)
    assert seen == sorted(seen)
    assert seen[-1] == total_bytes
    return {one.file: one for one in verdicts}


def bundled(place: Path) -> dict[str, Verdict]:
    with opened(str(place), io.BytesIO()) as bundle:
        (model,) = bundle.manifest.models
        read = Reading(TOTAL, lambda done, total, rate: None)
        return {one.file: one for one in verify_bundled(bundle, model, read)}


def flip(path: Path, at: int = 1000) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_what_was_downloaded_is_whole(store: Store):
    assert {name: one.state for name, one in stored(store).items()} == dict.fromkeys(FILES, "whole")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("way", ["flipped", "cut", "grown"])
def test_a_file_that_has_gone_bad_is_named_and_no_other(store: Store, name: str, way: str):
    blob = (store.list()[0].snapshot / name).resolve()
    if way == "flipped":
        flip(blob, 5)
    else:
        blob.write_bytes(blob.read_bytes()[:-1] if way == "cut" else blob.read_bytes() + b"x")
    found = stored(store)
    assert {file for file, one in found.items() if one.state == "broken"} == {name}
    assert "does not hash to" in str(found[name].fault)


def test_a_file_that_was_copied_in_by_hand_is_nobodys_to_tell(store: Store):
    path = store.list()[0].path
    path.unlink()
    path.write_bytes(DATA)
    found = stored(store)["tiny-Q8_0.gguf"]
    assert (found.state, "by hand" in str(found.fault)) == ("unknown", True)


def test_a_file_that_goes_meanwhile_is_broken_and_no_fault_of_ours(store: Store):
    (model,) = store.list()
    model.path.resolve().unlink()
    read = Reading(TOTAL, lambda done, total, rate: None)
    found = {one.file: one.state for one in verify_stored(store.root, model, read)}
    assert found == dict.fromkeys(FILES, "whole") | {"tiny-Q8_0.gguf": "broken"}


def test_a_file_with_a_second_name_is_known_by_its_blob(store: Store):
    """As on disks that make hard links only."""
    path = store.list()[0].path
    blob = path.resolve()
    path.unlink()
    path.hardlink_to(blob)
    assert stored(store)["tiny-Q8_0.gguf"].state == "whole"
    flip(blob)
    assert stored(store)["tiny-Q8_0.gguf"].state == "broken"


def test_what_two_models_share_is_read_once(store: Store):
    filled(store.root, FILES | {"tiny-Q4_0.gguf": DATA[:1000]})
    read = Reading(1, lambda done, total, rate: None)
    first, second = (verify_stored(store.root, model, read) for model in store.list())
    assert len({*first} & {*second}) == 2  # the licence and the projector
    assert len(read.known) == 4


def test_what_another_commit_calls_otherwise_is_called_as_the_model_has_it(store: Store):
    filled(store.root, {"moved/tiny-Q8_0.gguf": DATA}, commit="f" * 40)
    models, read = store.list(), Reading(1, lambda done, total, rate: None)
    assert len(models) == 2
    for model in models:
        assert {*model.files} <= {one.file for one in verify_stored(store.root, model, read)}


@pytest.mark.parametrize("kind", ["folder", "pieces", "tar"])
def test_a_bundles_files_are_held_against_its_manifest(store: Store, tmp_path: Path, kind: str):
    place = tmp_path / ("out.tar" if kind == "tar" else "out")
    export(store, place, piece_bytes=3 << 20 if kind == "pieces" else None)
    assert {one.state for one in bundled(place).values()} == {"whole"}
    if kind == "tar":
        data = place.read_bytes()
        flip(place, data.index(DATA[-(1 << 20) : -(1 << 20) + 64]))
    else:
        flip(max(place.rglob("tiny*")))
    assert {file for file, one in bundled(place).items() if one.state == "broken"} == {
        "tiny-Q8_0.gguf"
    }


@pytest.mark.parametrize("fault", ["gone", "cut", "a link", "a pipe"])
def test_a_file_that_a_bundle_has_lost_costs_itself_only(store: Store, tmp_path: Path, fault: str):
    export(store, tmp_path / "out")
    path = next((tmp_path / "out").rglob("mmproj*"))
    data = path.read_bytes()
    path.unlink()
    if fault == "cut":
        path.write_bytes(data[:-1])
    elif fault == "a link":
        path.symlink_to("/dev/zero")
    elif fault == "a pipe":  # which nobody ever writes to
        os.mkfifo(path)
    found = bundled(tmp_path / "out")
    assert {file for file, one in found.items() if one.state == "broken"} == {"mmproj-F16.gguf"}


def test_every_one_of_a_thousand_flipped_bits_of_a_bundle_is_found(tmp_path: Path):
    """Wherever it is: in the manifest, in a header, in a file, in what fills a block."""
    small = {"small-Q4_0.gguf": b"GGUF small" * 30, "LICENSE": b"as you like"}
    store = filled(tmp_path / "small", small)
    place = tmp_path / "small.tar"
    sha256 = export(store, place).sha256
    sound = place.read_bytes()
    told = export(store, tmp_path / "again.tar")
    assert told.sha256 == sha256
    step = len(sound) // 1000
    unseen = []
    for n in range(1000):
        data = bytearray(sound)
        data[n * step] ^= 1 << (n % 8)
        place.write_bytes(data)
        try:
            with opened(str(place), io.BytesIO(), sha256) as bundle:
                (model,) = bundle.manifest.models
                read = Reading(1, lambda done, total, rate: None)
                if all(one.state == "whole" for one in verify_bundled(bundle, model, read)):
                    unseen.append(n * step)
        except BadBundle:
            continue
    assert [at for at in unseen if not is_free(sound, at)] == []


def is_free(tar: bytes, at: int) -> bool:
    """Whether the byte is what nobody reads: a block's filling, README and sums, the end."""
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for one in archive:
            is_read = one.name.startswith("models/") or one.name == "edgellm-bundle.json"
            header_at = one.offset
            if header_at <= at < header_at + 512:
                return 148 <= at - header_at < 156  # a zero or a blank of its sum is as good
            if is_read and one.offset_data <= at < one.offset_data + one.size:
                return False
    return True
