"""Signatures as OpenSSH makes and checks them, which is how git's commits are signed, too.

Keys, agents, hardware keys, the file that says whose key is whose and until when: all that is
ssh-keygen's, and nothing of it is done here. It is given bytes that were read once, in a folder of
our own: so what was checked is what is used, and no name or link of a stranger's reaches it.
Source: ssh-keygen(1), "-Y" and "ALLOWED SIGNERS"; OpenSSH, PROTOCOL.sshsig.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from edgellm.errors import BadBundle, BadRequest, ConfigError, StorageError
from edgellm.harmless import plain
from edgellm.units import DASH
from edgellm.values import frozen

NAMESPACE: Final = "edgellm-bundle"  # a signature of a commit or a letter is none of a bundle

_MAX_SIGNERS_BYTES: Final = 1 << 20
_KEY: Final = re.compile(r" key (SHA256:[A-Za-z0-9+/=]+)\s*\Z")
_TOO_OLD: Final = re.compile("unsupported operation|(?:unknown|illegal) option", re.IGNORECASE)
_MAX_WORDS: Final = 300
_NOBODY: Final = "No principal matched."


@frozen
class Signature:
    """`text`: as ssh-keygen writes it into a file; `key`: the signing key's fingerprint."""

    text: bytes
    key: str


@frozen
class Signers:
    """`data`: what the file said when it was read, once."""

    path: Path
    data: bytes


@frozen
class Signer:
    """`principal`: whose key it is, by the file of signers, made harmless; `key`: fingerprint."""

    principal: str
    key: str | None

    @property
    def words(self) -> str:
        return f"{self.principal} ({self.key or DASH})"


def check_key(key: Path) -> None:
    """Before anything is read for a bundle. Raises BadRequest, ConfigError."""
    _program()
    if not key.is_file():
        raise BadRequest(
            f"there is no key {key}",
            hint="--sign ~/.ssh/id_ed25519; one that is in an agent by its .pub file",
        )


def sign(data: bytes, key: Path) -> Signature:
    """ssh-keygen asks on the terminal for a passphrase or a touch. Raises BadRequest, ConfigError,
    StorageError."""
    with _folder({"data": data}) as folder:
        path = str(folder / "data")
        words = ("-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key.absolute()), path)
        done = _started(words, stdout=subprocess.DEVNULL)
        if done.returncode:
            raise BadRequest(
                f"ssh-keygen signs nothing with {key} (exit code {done.returncode})",
                hint=f"it says why; alone: ssh-keygen -Y sign -n {NAMESPACE} -f {key} FILE",
            )
        text = (folder / "data.sig").read_bytes()
    by = key_behind(data, text)
    if by is None:
        raise BadRequest(f"what ssh-keygen has made with {key} is no signature that it believes")
    return Signature(text, by)


def key_behind(data: bytes, text: bytes) -> str | None:
    """The fingerprint of the key that has signed `data`, whoever has it; None: `text` is no
    signature of that. Raises ConfigError, StorageError."""
    with _folder({"sig": text}) as folder:
        path = str(folder / "sig")
        done = _asked(("-Y", "check-novalidate", "-n", NAMESPACE, "-s", path), data)
    found = _KEY.search(done.stdout.decode(errors="replace"))
    return found[1] if done.returncode == 0 and found else None


def read_signers(path: Path) -> Signers:
    """Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_SIGNERS_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"the signers' file {path} can't be read: {error.strerror or error}",
            hint="--signers, or bundle_signers in the settings, names it; a line of it is NAME and "
            "the key as its .pub file has it",
        ) from error
    if len(data) > _MAX_SIGNERS_BYTES:
        raise ConfigError(f"the signers' file {path} has more than {_MAX_SIGNERS_BYTES} bytes")
    return Signers(path, data)


def signer_of(data: bytes, text: bytes, signers: Signers) -> Signer:
    """Whom `signers` lets sign today, and who has signed `data`. Raises BadBundle where there is
    nobody, ConfigError, StorageError."""
    with _folder({"signers": signers.data, "sig": text}) as folder:
        by = ("-f", str(folder / "signers"), "-s", str(folder / "sig"))
        found = _asked(("-Y", "find-principals", *by), b"")
        names = found.stdout.decode(errors="surrogateescape").splitlines()
        refusals = [found.stderr]
        for name in names if found.returncode == 0 else ():
            done = _asked(("-Y", "verify", *by, "-n", NAMESPACE, "-I", name), data)
            if done.returncode == 0:
                key = _KEY.search(done.stdout.decode(errors="replace"))
                return Signer(plain(name), key[1] if key else None)
            refusals.append(done.stderr)
        said = _words(refusals[-1], str(folder / "signers"), str(signers.path))
    raise _refusal(key_behind(data, text), signers.path, said)


def _refusal(key: str | None, signers: Path, said: str) -> BadBundle:
    if key is None:
        return BadBundle(
            "the bundle's signature is not its manifest's",
            hint="the bundle was altered after it was signed, or this was signed as something else",
        )
    return BadBundle(
        f"the bundle is signed with the key {key}, and {signers} lets nobody sign with it: {said}",
        hint="a line there, NAME and the key as its .pub file has it, lets its owner",
    )


@contextmanager
def _folder(files: dict[str, bytes]) -> Iterator[Path]:
    """This user's alone, and gone afterwards. Raises StorageError."""
    with ExitStack() as kept:
        try:
            made = tempfile.TemporaryDirectory(prefix="edgellm-", ignore_cleanup_errors=True)
            folder = Path(kept.enter_context(made))
            for file, data in files.items():
                (folder / file).write_bytes(data)
        except OSError as error:
            raise StorageError(
                f"there is no room for a signature's temporary files: {error.strerror or error}",
                hint="TMPDIR names a folder that can be written",
            ) from error
        yield folder


def _asked(words: tuple[str, ...], data: bytes) -> "subprocess.CompletedProcess[bytes]":
    done = _started(words, input=data, capture_output=True)
    if done.returncode and _TOO_OLD.search(done.stderr.decode(errors="replace")):
        raise ConfigError(
            "ssh-keygen is too old here to check signatures", hint="OpenSSH 8.2 or newer does"
        )
    return done


def _started(words: tuple[str, ...], **how: Any) -> "subprocess.CompletedProcess[bytes]":
    program = _program()
    try:
        return subprocess.run((program, *words), check=False, **how)
    except OSError as error:
        raise ConfigError(f"{program} can't be started: {error.strerror or error}") from error


def _program() -> str:
    found = shutil.which("ssh-keygen")
    if found is None:
        raise ConfigError(
            "signatures are OpenSSH's, and ssh-keygen is not on this machine",
            hint="install openssh-client (Debian, Ubuntu), openssh (Fedora, Arch) or openssh-keygen"
            " (Alpine)",
        )
    return found


def _words(stderr: bytes, path: str, called: str) -> str:
    """The program's own, of our copy as of the file that it is of."""
    lines = stderr.decode(errors="replace").replace(path, called).splitlines()
    said = "; ".join(plain(line) for line in lines if line.strip() and line != _NOBODY)
    return said[:_MAX_WORDS] or "it names no such key"
