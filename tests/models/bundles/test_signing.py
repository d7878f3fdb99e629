"""Who vouches for a bundle: real keys, real signatures, by the ssh-keygen that is here."""

import errno
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_runs import (
    COMMIT,
    DATA,
    KINDS,
    LICENCE,
    SMALL,
    Passing,
    bring_all,
    export,
    filled,
)
from bundle_signers import SMALL_NAME, listed, made, made_key, public, signer

from edgellm.errors import BadBundle, ConfigError, StorageError
from edgellm.models.bundles import ssh_keygen
from edgellm.models.bundles.layout import MANIFEST, SIGNATURE
from edgellm.models.bundles.manifest import fingerprint
from edgellm.models.bundles.reading import opened
from edgellm.models.bundles.sources import FolderSource
from edgellm.models.bundles.ssh_keygen import NAMESPACE, Signer
from edgellm.models.bundles.tar import header, padding
from edgellm.models.store import Store

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return filled(tmp_path / "hub", {"tiny-Q8_0.gguf": DATA[:5000], "LICENSE": LICENCE})


@pytest.mark.parametrize("kind", KINDS)
def test_who_has_signed_a_bundle_is_told_by_every_way(
    store: Store, key: Path, signers: Path, tmp_path: Path, kind: str
):
    place, stdin = made(store, tmp_path, kind, key)
    there = Store(tmp_path / "there")
    (path,) = bring_all(there, place, stdin=stdin, signers=signers)
    assert path.read_bytes() == DATA[:5000]
    told = signer(place, signers, Passing(stdin.getvalue()))
    shown = subprocess.run(
        ("ssh-keygen", "-l", "-f", key), capture_output=True, text=True, check=True
    )
    assert told == Signer("alice@example.org", shown.stdout.split()[1])


def test_ssh_keygen_itself_takes_the_signature(
    store: Store, key: Path, signers: Path, tmp_path: Path
):
    """As docs/offline.md says it, without edgellm."""
    out = tmp_path / "out"
    done = export(store, out, key=key)
    words = ("-Y", "verify", "-n", NAMESPACE, "-I", "alice@example.org", "-f", signers)
    manifest = (out / MANIFEST).read_bytes()
    told = subprocess.run(
        ("ssh-keygen", *words, "-s", out / SIGNATURE), input=manifest, capture_output=True
    )
    assert told.returncode == 0
    assert done.signed_with
    assert done.signed_with in told.stdout.decode()
    assert done.sha256 == fingerprint(manifest)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_without_a_signature_is_refused_before_anything_is_written(
    store: Store, signers: Path, tmp_path: Path, kind: str
):
    place, stdin = made(store, tmp_path, kind, None)
    there = Store(tmp_path / "there")
    with pytest.raises(BadBundle, match="is not signed"):
        bring_all(there, place, stdin=stdin, signers=signers)
    assert not there.root.exists()


@pytest.mark.parametrize("kind", ["folder", "tar", "pipe"])
def test_who_asks_for_no_signature_takes_signed_bundles_too(
    store: Store, key: Path, tmp_path: Path, kind: str, monkeypatch
):
    place, stdin = made(store, tmp_path, kind, key)
    monkeypatch.setenv("PATH", "")  # also where there is no ssh-keygen
    (path,) = bring_all(Store(tmp_path / "there"), place, stdin=stdin)
    assert path.read_bytes() == DATA[:5000]


def test_a_signature_of_another_manifest_is_none(
    store: Store, key: Path, signers: Path, tmp_path: Path
):
    export(store, tmp_path / "out", key=key)
    filled(store.root, SMALL, repo="org/small")
    export(store, tmp_path / "other", SMALL_NAME, key=key)
    shutil.copy(tmp_path / "other" / SIGNATURE, tmp_path / "out" / SIGNATURE)
    with pytest.raises(BadBundle, match="not its manifest's"):
        signer(tmp_path / "out", signers)


def test_one_changed_byte_of_the_manifest_is_seen(
    store: Store, key: Path, signers: Path, tmp_path: Path
):
    out = tmp_path / "out"
    export(store, out, key=key)
    (out / MANIFEST).write_bytes((out / MANIFEST).read_bytes().replace(b"Q8_0", b"Q8_1"))
    with pytest.raises(BadBundle, match="not its manifest's"):
        signer(out, signers)


def test_a_signature_for_something_else_is_none(
    store: Store, key: Path, signers: Path, tmp_path: Path
):
    """Whoever signs a commit, or a letter, has signed no bundle."""
    out = tmp_path / "out"
    export(store, out)
    words = ("ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", key, out / MANIFEST)
    subprocess.run(words, check=True)
    with pytest.raises(BadBundle, match="not its manifest's"):
        signer(out, signers)


REFUSED: dict[str, tuple[Callable[[str, str], str], str]] = {
    "nobody knows the key": (lambda mine, his: f"alice {his}", "lets nobody sign"),
    "it has run out": (lambda mine, his: f'alice valid-before="20200101" {mine}', "expired"),
    "it is not valid yet": (lambda mine, his: f'alice valid-after="20990101" {mine}', "not yet"),
    "it is for commits": (lambda mine, his: f'alice namespaces="git" {mine}', "not permitted"),
    "it is an authority's": (lambda mine, his: f"alice cert-authority {mine}", "lets nobody sign"),
    "there is nobody": (lambda mine, his: "# nobody", "lets nobody sign"),
    "the name is forgotten": (lambda mine, his: mine, "lets nobody sign"),
    "it is no file of signers": (lambda mine, his: "\0\x01\x02" * 1000, "lets nobody sign"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_whom_the_signers_do_not_let_sign_is_refused(
    store: Store, key: Path, other: Path, tmp_path: Path, case: str
):
    line, said = REFUSED[case]
    export(store, tmp_path / "out", key=key)
    signers = listed(tmp_path / "signers", line(public(key), public(other)))
    with pytest.raises(BadBundle, match=said) as told:
        signer(tmp_path / "out", signers)
    assert "SHA256:" in str(told.value)
    assert "/edgellm-" not in str(told.value)


@pytest.mark.parametrize(
    "line", ["bob,alice@example.org {}", "*@example.org {}", '"a b" namespaces="edgellm-*" {}']
)
def test_a_line_may_name_several_or_a_pattern(store: Store, key: Path, tmp_path: Path, line: str):
    export(store, tmp_path / "out", key=key)
    assert signer(tmp_path / "out", listed(tmp_path / "signers", line.format(public(key))))


def test_a_name_that_would_write_on_the_terminal_is_made_harmless(
    store: Store, key: Path, tmp_path: Path
):
    export(store, tmp_path / "out", key=key)
    signers = tmp_path / "signers"
    signers.write_bytes(b"al\x1b[31mice\xff\xe2\x80\xae " + public(key).encode())
    told = signer(tmp_path / "out", signers)
    assert told
    assert told.principal.isprintable()
    assert told.principal.startswith("alice")


@pytest.mark.parametrize("what", ["link", "dangling link", "pipe", "folder", "large", "no words"])
def test_what_lies_in_a_signatures_place_is_refused(
    store: Store, key: Path, signers: Path, tmp_path: Path, what: str
):
    out = tmp_path / "out"
    export(store, out, key=key)
    place = out / SIGNATURE
    place.rename(tmp_path / "sig")
    if what == "link":
        place.symlink_to(tmp_path / "sig")
    elif what == "dangling link":
        place.symlink_to(tmp_path / "none")
    elif what == "pipe":
        os.mkfifo(place)
    elif what == "folder":
        place.mkdir()
    elif what == "large":
        with place.open("wb") as file:
            file.truncate(1 << 30)
    else:
        place.write_bytes(b"\xff\0-----BEGIN SSH SIGNATURE-----\n")
    with pytest.raises(BadBundle):
        signer(out, signers)


def test_a_signature_that_may_not_be_read_hinders_only_who_asks_for_one(
    store: Store, key: Path, signers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Stood in for: whoever is root may read everything."""

    def refuse(self: FolderSource) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", "a.sig")

    out = tmp_path / "out"
    export(store, out, key=key)
    monkeypatch.setattr(FolderSource, "signature", refuse)
    with opened(str(out), io.BytesIO()) as bundle:
        assert bundle.has_signature
    assert len(bring_all(Store(tmp_path / "there"), out)) == 1
    with pytest.raises(StorageError, match=r"can't be read: Permission denied \(a.sig\)") as told:
        signer(out, signers)
    assert "who runs edgellm" in told.value.hint


@pytest.mark.parametrize("kind", ["tar", "pipe"])
def test_a_signature_of_a_gigabyte_is_not_read(
    store: Store, signers: Path, tmp_path: Path, kind: str
):
    export(store, "-", stdout=(out := io.BytesIO()))
    data = out.getvalue()
    size_bytes = int(data[124:135], 8)
    at = 512 + size_bytes + padding(size_bytes)
    head = data[:at] + header(SIGNATURE, 1 << 30, 0)
    if kind == "pipe":
        with pytest.raises(BadBundle, match=f"{SIGNATURE} has {1 << 30} bytes"):
            signer("-", signers, Passing(head + b"x" * 1000))
        return
    tar = tmp_path / "out.tar"
    tar.write_bytes(head)
    with tar.open("r+b") as file:
        file.truncate(at + 512 + (1 << 30))
        file.seek(0, os.SEEK_END)
        file.write(data[at:])
    with pytest.raises(BadBundle, match=f"{SIGNATURE} has {1 << 30} bytes"):
        signer(tar, signers)


def test_in_a_pipe_a_signature_that_comes_later_is_none(
    store: Store, key: Path, signers: Path, tmp_path: Path
):
    """Or the files before it would have been taken over already."""
    export(store, tmp_path / "out", key=key)
    data = io.BytesIO()
    export(store, "-", stdout=data)
    text = (tmp_path / "out" / SIGNATURE).read_bytes()
    late = header(SIGNATURE, len(text), 0) + text + bytes(padding(len(text)))
    with pytest.raises(BadBundle, match="not signed") as told:
        signer("-", signers, Passing(data.getvalue()[:-1024] + late + bytes(1024)))
    assert "right behind the manifest" in told.value.hint


def test_a_manifest_that_is_swapped_after_the_check_is_not_used(
    store: Store, key: Path, signers: Path, tmp_path: Path
):
    out = tmp_path / "out"
    export(store, out, key=key)
    with opened(str(out), io.BytesIO(), signers=signers) as bundle:
        told = json.loads((out / MANIFEST).read_text())
        told["models"][0]["commit"] = "f" * 40
        (out / MANIFEST).write_text(json.dumps(told))
        assert bundle.manifest.models[0].commit == COMMIT


@pytest.mark.parametrize("words", [("-t", "rsa", "-b", "2048"), ("-t", "ecdsa")])
def test_other_kinds_of_keys_sign_too(store: Store, tmp_path: Path, words: tuple[str, ...]):
    key = made_key(tmp_path, "k", *words)
    export(store, tmp_path / "out", key=key)
    assert signer(tmp_path / "out", listed(tmp_path / "signers", f"a {public(key)}"))


def test_an_authority_vouches_for_the_keys_that_it_has_signed(
    store: Store, key: Path, other: Path, tmp_path: Path
):
    subprocess.run(
        ("ssh-keygen", "-q", "-s", other, "-I", "1", "-n", "alice", f"{key}.pub"), check=True
    )
    export(store, tmp_path / "out", key=key.with_name(f"{key.name}-cert.pub"))
    told = signer(tmp_path / "out", listed(tmp_path / "s", f"alice cert-authority {public(other)}"))
    assert told
    assert told.principal == "alice"
    with pytest.raises(BadBundle, match="lets nobody sign"):
        signer(tmp_path / "out", listed(tmp_path / "s", f"bob cert-authority {public(other)}"))


def test_a_key_that_an_agent_holds_signs_by_its_public_half(
    store: Store, key: Path, signers: Path, tmp_path: Path, monkeypatch
):
    agent = shutil.which("ssh-agent")
    if agent is None or shutil.which("ssh-add") is None:
        pytest.skip("no ssh-agent here")
    socket = tmp_path / "agent"
    running = subprocess.Popen((agent, "-D", "-a", socket), stdout=subprocess.PIPE)
    try:
        assert running.stdout
        running.stdout.readline()  # by when it listens
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(("ssh-add", "-q", key), check=True, capture_output=True)
        key.unlink()
        export(store, tmp_path / "out", key=key.with_name(f"{key.name}.pub"))
        assert signer(tmp_path / "out", signers)
    finally:
        running.terminate()
        running.communicate(timeout=60)


def test_without_ssh_keygen_it_is_said_what_is_missing(
    store: Store, key: Path, signers: Path, tmp_path: Path, monkeypatch
):
    export(store, tmp_path / "out", key=key)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="ssh-keygen is not on this machine") as told:
        signer(tmp_path / "out", signers)
    assert "openssh-client" in told.value.hint
    with pytest.raises(ConfigError):
        ssh_keygen.check_key(key)
    program = tmp_path / "ssh-keygen"
    program.write_text("#!/bin/sh\necho 'unknown option -- Y' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(ConfigError, match="too old"):
        signer(tmp_path / "out", signers)
    program.write_bytes(b"\x7fELF")
    with pytest.raises(ConfigError, match="can't be started"):
        signer(tmp_path / "out", signers)


@pytest.mark.parametrize("what", ["none", "folder", "large"])
def test_a_file_of_signers_that_is_none_lets_nobody_sign(
    store: Store, key: Path, tmp_path: Path, what: str
):
    export(store, tmp_path / "out", key=key)
    signers = tmp_path / "signers"
    if what == "folder":
        signers.mkdir()
    elif what == "large":
        signers.write_bytes(bytes(2 << 20))
    with pytest.raises(ConfigError, match="signers"):
        signer(tmp_path / "out", signers)


def test_the_files_of_a_signed_bundle_are_held_against_it_as_ever(
    store: Store, key: Path, signers: Path, tmp_path: Path
):
    out = tmp_path / "out"
    export(store, out, key=key)
    file = next(out.rglob("*.gguf"))
    file.write_bytes(file.read_bytes()[::-1])
    with pytest.raises(BadBundle, match="not what was exported"):
        bring_all(Store(tmp_path / "there"), out, signers=signers)


def test_where_no_temporary_files_can_be_that_is_said(
    store: Store, key: Path, signers: Path, tmp_path: Path, monkeypatch
):
    export(store, tmp_path / "out", key=key)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(StorageError, match="temporary files") as told:
        signer(tmp_path / "out", signers)
    assert "TMPDIR" in told.value.hint
    with pytest.raises(StorageError, match="temporary files"):
        export(store, tmp_path / "other", key=key)


def test_nothing_is_left_in_the_folder_for_temporary_files(
    store: Store, key: Path, signers: Path, tmp_path: Path, monkeypatch
):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    export(store, tmp_path / "out", key=key)
    signer(tmp_path / "out", signers)
    assert [*(tmp_path / "tmp").iterdir()] == []
