"""Our own download: resumable after anything, verified, never half a file under a final name.

    lock → trusted part → hash what is there → stream the rest → compare → fsync, rename, fsync

A broken connection, silence or a busy hub is tried again, as long as tries make progress; a
wrong digest once, from the first byte. Everything else ends it and leaves the part to resume.
"""

import contextlib
import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgellm.errors import StorageError, TransientError, WrongContent
from edgellm.models.fetching.digest import Digest, feed
from edgellm.models.fetching.hub import Hub
from edgellm.models.fetching.journal import Part, drop, part_of
from edgellm.models.fetching.lock import locked
from edgellm.models.fetching.policy import DownloadPolicy, Pace
from edgellm.models.repo_files import RepoFile
from edgellm.units import format_bytes

# done bytes, total bytes, bytes a second: None before two readings, 0 while it waits to try again
Progress = Callable[[int, int, float | None], None]

_SPARE_BYTES: Final = 16 << 20  # a disk filled to its last byte breaks other things


def download(
    hub: Hub, file: RepoFile, blob: Path, lock: Path, policy: DownloadPolicy, progress: Progress
) -> None:
    """Puts the file's content under `blob`. Raises NetworkError, StorageError, Offline.

    While another process downloads the same file, `progress` tells how far that one is.
    """
    digest = Digest.of(file)

    def watch_the_other() -> None:
        progress(_here_bytes(blob), digest.size_bytes, None)

    try:
        blob.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock, on_wait=watch_the_other):
            if is_complete(blob, digest):
                return  # another process was faster
            with Part(blob, digest, file.path, hub=file.hub) as part:
                check_space(blob.parent, digest.size_bytes - part.done_bytes)
                _Download(hub, file, part, policy, progress).run()
    except OSError as error:
        raise storage_error(error, blob.parent) from error


class _Download:
    def __init__(
        self, hub: Hub, file: RepoFile, part: Part, policy: DownloadPolicy, progress: Progress
    ) -> None:
        self.hub, self.file, self.part, self.policy = hub, file, part, policy
        self.progress, self.pace = progress, Pace(policy)
        self.hasher = part.digest.hasher()

    def run(self) -> None:
        for done in feed(self.hasher, self.part.path):
            self.progress(done, self.file.size_bytes, None)
        for _ in range(self.policy.max_contents):
            self._fill()
            if self.hasher.hexdigest() == self.part.digest.hex:
                self.part.publish()
                return
            self.part.restart()
            self.hasher = self.part.digest.hasher()
        drop(self.part.path)
        raise WrongContent(
            f"{self.file.path} came twice with a content that is not the hub's "
            f"(its digest is {self.part.digest.hex[:12]}…)",
            file=self.file.path,
            hint="something between here and the hub changes files; nothing was kept",
        )

    def _fill(self) -> None:
        """Streams until every byte is here, whatever breaks in between."""
        n_tries = 0
        while self.part.done_bytes < self.file.size_bytes:
            before, failure = self.part.done_bytes, self._stream_once()
            if self.part.done_bytes >= self.file.size_bytes:
                return
            n_tries = 0 if self.part.done_bytes > before else n_tries + 1
            pause_s = self.policy.pause_s(failure, n_tries)
            self.progress(self.part.done_bytes, self.file.size_bytes, 0.0)
            self.policy.sleep(pause_s)

    def _stream_once(self) -> TransientError:
        """Takes what one connection gives; returns why it ended."""
        total = self.file.size_bytes
        try:
            for chunk in self.hub.stream(self.file.url, self.part.done_bytes):
                wanted = chunk[: total - self.part.done_bytes]
                self.part.append(wanted)
                self.hasher.update(wanted)
                self.progress(self.part.done_bytes, total, self.pace.passed(len(wanted)))
                if self.part.done_bytes >= total:
                    break
        except TransientError as error:
            return error
        return TransientError(
            f"{self.file.path} ended after {format_bytes(self.part.done_bytes)} "
            f"of {format_bytes(total)}",
            hint="run the same command again: it goes on from there",
        )


def _here_bytes(blob: Path) -> int:
    for path in (part_of(blob), blob):  # in the order in which they come and go
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_size
    return 0


def is_complete(blob: Path, digest: Digest) -> bool:
    """Published blobs were verified; a size that differs means somebody else's hand."""
    try:
        return blob.stat().st_size == digest.size_bytes
    except FileNotFoundError:
        return False


def check_space(
    folder: Path,
    wanted_bytes: int,
    hint: str = "edgellm list and edgellm rm make room; HF_HOME names another disk",
) -> None:
    free = shutil.disk_usage(folder).free
    if wanted_bytes and wanted_bytes + _SPARE_BYTES > free:
        raise StorageError(
            f"{format_bytes(wanted_bytes)} are to come, {format_bytes(free)} are free on the disk",
            hint=hint,
        )


def storage_error(error: OSError, folder: Path) -> StorageError:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return StorageError(
                f"the disk is full: {format_bytes(shutil.disk_usage(folder).free)} are free",
                hint="edgellm rm makes room; then the download goes on where it stopped",
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return StorageError(
                "no permission to write to the model cache",
                hint="HF_HOME names another folder",
            )
        case errno.EEXIST if folder.is_symlink() and not folder.exists():
            return StorageError(
                "the model cache is a link to a folder that isn't there",
                hint="is its disk mounted? HF_HOME names another folder",
            )
        case _:
            return StorageError(f"the model cache can't be written: {error.strerror or error}")
