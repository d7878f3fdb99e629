"""What a file's content must hash to, as the hub states it.

A digest becomes a file's name on this disk, so it is hex of the right length or it is nothing:
`Digest.of` is the only way to make one from a stranger's words.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgellm.errors import NetworkError
from edgellm.models.repo_files import RepoFile
from edgellm.values import frozen

if TYPE_CHECKING:
    from hashlib import _Hash

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_GIT_OID: Final = re.compile(r"[0-9a-f]{40}")
_READ_BYTES: Final = 4 << 20


@frozen
class Digest:
    hex: str  # 64 digits: sha256; 40: git's sha1 of a blob
    size_bytes: int

    @classmethod
    def of(cls, file: RepoFile) -> "Digest":
        """Raises NetworkError when the hub states none."""
        if file.sha256 is not None and _SHA256.fullmatch(file.sha256):
            return cls(file.sha256, file.size_bytes)
        if file.sha256 is None and file.git_oid is not None and _GIT_OID.fullmatch(file.git_oid):
            return cls(file.git_oid, file.size_bytes)
        raise NetworkError(
            f"the hub states no digest for {file.path}, so it can't be verified",
            hint="download it by other means and serve its path",
        )

    def hasher(self) -> "_Hash":
        if len(self.hex) == 64:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.size_bytes, usedforsecurity=False)


def hashed(hasher: "_Hash", path: Path) -> str:
    """The file's digest by this hasher, in hex. Raises OSError."""
    for _ in feed(hasher, path):
        pass
    return hasher.hexdigest()


def feed(hasher: "_Hash", path: Path) -> Iterator[int]:
    """Hashes what is in the file; yields how many bytes are behind, so that one can show it."""
    done = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_READ_BYTES):
            hasher.update(chunk)
            done += len(chunk)
            yield done
