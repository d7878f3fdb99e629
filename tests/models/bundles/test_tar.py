"""The tar format, read and written, with other programs as judges."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from edgellm.errors import BadBundle
from edgellm.models.bundles.sources import Archive, StreamSource, TarSource
from edgellm.models.bundles.tar import END, header, padding

LONG = "models/" + "o" * 90 + "/" + "r" * 90 + "/" + "f" * 200 + ".gguf"
NAMES = ["edgellm-bundle.json", "models/org/repo/" + "m" * 95, "models/org/ré/größe.gguf", LONG]


def written(*members: tuple[str, bytes]) -> bytes:
    parts = [
        header(name, len(data), 0) + data + bytes(padding(len(data))) for name, data in members
    ]
    return b"".join(parts) + END


def listed(data: bytes) -> dict[str, bytes]:
    archive, found = Archive(io.BytesIO(data)), {}
    while member := archive.next():
        found[member.name] = b"".join(archive.chunks(member.name, 0, member.size_bytes))
    return found


MEMBERS = {name: bytes([n]) * (n * 511) for n, name in enumerate(NAMES)}


def test_what_is_written_python_reads_and_we_do():
    data = written(*MEMBERS.items())
    with tarfile.open(fileobj=io.BytesIO(data)) as theirs:
        assert {one.name: theirs.extractfile(one).read() for one in theirs} == MEMBERS
        assert {one.mode for one in theirs} == {0o644}
    assert listed(data) == MEMBERS
    assert len(data) % 512 == 0


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_python_writes_we_read(form: int):
    out = io.BytesIO()
    members = {n: d for n, d in MEMBERS.items() if form != tarfile.USTAR_FORMAT or n != LONG}
    with tarfile.open(fileobj=out, mode="w", format=form) as theirs:
        for name, data in members.items():
            one = tarfile.TarInfo(f"./{name}")
            one.size = len(data)
            theirs.addfile(one, io.BytesIO(data))
    assert listed(out.getvalue()) == members


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar here")
def test_the_systems_tar_and_we_read_one_another(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(written(*MEMBERS.items()))
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", "../a.tar"], cwd=tmp_path / "out", check=True)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in NAMES} == MEMBERS
    subprocess.run(["tar", "-cf", "b.tar", "-C", "out", "."], cwd=tmp_path, check=True)
    assert listed((tmp_path / "b.tar").read_bytes()) == MEMBERS


def test_a_file_beyond_eight_gibibytes_has_its_size_told():
    size = (70 << 30) + 5
    with tarfile.open(fileobj=io.BytesIO(header("m", size, 0) + END)) as theirs:
        assert theirs.firstmember.size == size
    member = Archive(io.BytesIO(header("m", size, 0))).next()
    assert member
    assert member.size_bytes == size


def test_what_is_not_read_of_a_member_is_passed_over_also_in_a_pipe():
    class Pipe(io.RawIOBase):
        """Gives little at a time, and can't be sought in."""

        def __init__(self, data: bytes) -> None:
            self._left = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def read(self, n_bytes: int = -1) -> bytes:
            return self._left.read(min(n_bytes, 100))

    data = written(("a", b"1" * 2000), ("b", b"2" * 700), ("c", b"3"))
    for file in (io.BytesIO(data), Pipe(data)):
        archive = Archive(file)
        seen = []
        while member := archive.next():
            seen.append(
                b"".join(archive.chunks(member.name, member.size_bytes // 2, member.size_bytes))
            )
        assert seen == [b"1" * 1000, b"2" * 350, b"3"]


def one(kind: bytes, name: str = "x", link: str = "", size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info.tobuf(tarfile.GNU_FORMAT)


def with_sum(block: bytes) -> bytes:
    summed = sum(block[:148]) + sum(block[156:]) + 8 * 32
    return block[:148] + b"%06o\0 " % summed + block[156:]


MANIFEST = ("edgellm-bundle.json", b"{}")
SOUND = header("x", 4, 0)
HOSTILE = {
    "nothing": b"",
    "half a header": SOUND[:200],
    "no end": SOUND + b"abcd" + bytes(508),
    "a file cut short": SOUND + b"ab",
    "another sum": b"y" + SOUND[1:],
    "no tar": b"GGUF" * 200,
    "a zip": b"PK\x03\x04" + bytes(600),
    "a gzip": b"\x1f\x8b" + bytes(600),
    "a symbolic link": one(tarfile.SYMTYPE, link="/etc/passwd") + END,
    "a hard link": one(tarfile.LNKTYPE, link="../../x") + END,
    "a device": one(tarfile.CHRTYPE) + END,
    "a block device": one(tarfile.BLKTYPE) + END,
    "a pipe": one(tarfile.FIFOTYPE) + END,
    "a file with holes": one(tarfile.GNUTYPE_SPARSE) + END,
    "a kind that nobody knows": one(b"Z") + END,
    "a path that climbs": written(("../x", b"")),
    "a path that climbs later": written(("models/../../x", b"")),
    "an absolute path": written(("/etc/cron.d/x", b"")),
    "a path of Windows": written(("C:\\x", b"")),
    "a path that is no UTF-8": with_sum(b"\xff/x\x07" + SOUND[4:]) + b"abcd" + bytes(508) + END,
    "a path of pax that climbs": one(b"x", size=16) + b"16 path=../../x\n" + bytes(496) + SOUND,
    "a record of pax without end": one(b"x", size=16) + b"99 path=models/x" + bytes(496) + SOUND,
    "a record of pax that stands still": one(b"x", size=16) + b"0 path=x\n1 a=b\nc" + bytes(496),
    "a record of pax with holes": one(b"x", size=20)
    + b"20 GNU.sparse.map=0\n"
    + bytes(492)
    + SOUND,
    "a size of pax below nothing": one(b"x", size=10) + b"10 size=-\n" + bytes(502) + SOUND,
    "a long name of gigabytes": one(b"L", size=1 << 32) + END,
    "records of gigabytes": one(b"x", size=1 << 32) + END,
    "a size that is no number": with_sum(SOUND[:124] + b"-0000000004\0" + SOUND[136:]) + END,
    "a size with an underscore": with_sum(SOUND[:124] + b"0_000000004\0" + SOUND[136:]) + END,
    "a size beyond all disks": with_sum(SOUND[:124] + b"\x80\x7f" + bytes(10) + SOUND[136:]) + END,
    "long names without end": one(b"L", size=1) * 70_000,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("source", [TarSource, StreamSource])
def test_an_archive_that_no_export_has_written_is_refused(data: bytes, source: type):
    with pytest.raises(BadBundle):
        source(io.BytesIO(data)).manifest()


@pytest.mark.parametrize(
    "members",
    [
        [("x", b"")],
        [MANIFEST, MANIFEST],
        [MANIFEST, ("a/edgellm-bundle.json", b"{}")],
        [("a/b/edgellm-bundle.json", b"{}")],
        [MANIFEST, ("x", b"1"), ("x", b"2")],
    ],
    ids=["no manifest", "two", "one in a folder, too", "one too deep", "a file twice"],
)
def test_an_archive_has_one_manifest_and_each_file_once(members: list):
    with pytest.raises(BadBundle):
        TarSource(io.BytesIO(written(*members)))


def test_a_manifest_of_gigabytes_is_not_read():
    with pytest.raises(BadBundle, match=f"has {1 << 33} bytes, and none"):
        StreamSource(io.BytesIO(header("edgellm-bundle.json", 1 << 33, 0))).manifest()


def test_a_tar_of_the_folder_itself_is_a_bundle_too():
    source = TarSource(io.BytesIO(written(("b/models/x", b"1"), ("b/edgellm-bundle.json", b"{}"))))
    assert source.manifest() == b"{}"
    assert b"".join(source.chunks("models/x", 1, 0, 1)) == b"1"
