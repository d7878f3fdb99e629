"""What a hostile or a mistaken bundle gets: nothing is taken over, nothing written elsewhere."""

import os
import shutil
from pathlib import Path

import pytest
from bundle_runs import (
    DATA,
    LICENCE,
    TINY,
    Passing,
    bring_all,
    content,
    export,
    made,
)

from edgellm.errors import BadBundle, BadRequest, EdgellmError, ModelNotFound
from edgellm.models.bundles.layout import MANIFEST
from edgellm.models.store import Store


def swapped_for_a_link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def swapped_for_a_link_to(target: str):
    def swap(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return swap


def swapped_for_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def swapped_for_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def with_a_linked_folder(path: Path) -> None:
    path.parent.rename(path.parents[1] / "elsewhere")
    path.parent.symlink_to("elsewhere")


SWAPS = {
    "a link": swapped_for_a_link,
    "a link to a secret": swapped_for_a_link_to("/etc/passwd"),
    "a link to a device": swapped_for_a_link_to("/dev/zero"),
    "a pipe that nobody writes to": swapped_for_a_pipe,
    "a folder": swapped_for_a_folder,
    "a folder that is a link": with_a_linked_folder,
    "nothing": Path.unlink,
    "less": lambda path: os.truncate(path, len(DATA) - 1),
    "more": lambda path: os.truncate(path, len(DATA) + 1),
    "zeros": lambda path: path.write_bytes(bytes(len(DATA))),
}


@pytest.mark.parametrize("swap", SWAPS.values(), ids=SWAPS)
def test_what_lies_in_a_files_place_is_refused_and_nothing_is_written_elsewhere(
    store: Store, there: Store, tmp_path: Path, swap
):
    place, _ = made(store, tmp_path, "folder")
    swap(Path(place, TINY))
    outside = content(tmp_path / "hub")
    with pytest.raises(BadBundle):
        bring_all(there, place)
    assert there.list() == ()
    assert content(tmp_path / "hub") == outside
    assert {path.name for path in tmp_path.iterdir()} <= {"hub", "out", "there"}


def test_a_manifest_that_is_a_link_is_not_followed(store: Store, there: Store, tmp_path: Path):
    place, _ = made(store, tmp_path, "folder")
    swapped_for_a_link(Path(place, MANIFEST))
    with pytest.raises(BadBundle, match="behind a link"):
        bring_all(there, place)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("none", ModelNotFound, "there is no bundle"),
        ("m.gguf", BadRequest, "is a model itself"),
        ("empty", ModelNotFound, "is no bundle"),
        ("models", ModelNotFound, "is no bundle"),
        ("above", ModelNotFound, "is no bundle"),
        ("x.zip", BadBundle, "packed"),
    ],
)
def test_what_is_no_bundle_is_said_and_what_to_do(
    store: Store, there: Store, tmp_path: Path, name: str, kind: type[EdgellmError], said: str
):
    for folder in ("empty", "models", "above"):
        (tmp_path / folder).mkdir()
    for model in (tmp_path / "m.gguf", tmp_path / "models" / "m.gguf"):
        model.write_bytes(b"GGUF")
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04" + bytes(1000))
    export(store, tmp_path / "above" / "bundle")
    with pytest.raises(kind, match=said) as told:
        bring_all(there, tmp_path / name)
    hints = {"models": "edgellm serve", "m.gguf": "edgellm serve", "above": "above/bundle"}
    assert hints.get(name, "") in told.value.hint
    assert told.value.hint


def test_a_stream_in_another_order_than_its_manifest_is_refused(
    store: Store, there: Store, tmp_path: Path
):
    place, _ = made(store, tmp_path, "folder")
    shutil.make_archive(str(tmp_path / "by-hand"), "tar", place)
    with pytest.raises(BadBundle, match="does not begin with"):
        bring_all(there, "-", stdin=Passing((tmp_path / "by-hand.tar").read_bytes()))
    (path,) = bring_all(there, tmp_path / "by-hand.tar")  # in a file any order will do
    assert path.read_bytes() == DATA
    assert path.with_name("LICENSE").read_bytes() == LICENCE
