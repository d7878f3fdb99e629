"""A bundle as a hub: what huggingface.co answers over the network, this answers from a folder or a
tar. So whatever takes a Hub (the store's download, the reader of headers) takes a bundle."""

from collections.abc import Iterator

from edgellm.errors import BadBundle, ModelNotFound
from edgellm.models.bundles.manifest import BundledFile, BundledModel
from edgellm.models.bundles.reading import Bundle, reading
from edgellm.models.fetching.hub import Repository
from edgellm.models.names import MAIN


class BundleHub:
    """The address of a file is its place in the bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._files = {model.place(file): (model, file) for model, file in bundle.manifest.files}

    def list_files(self, repo: str, revision: str = MAIN) -> Repository:
        """Raises ModelNotFound."""
        models = [one for one in self._bundle.manifest.models if one.repo == repo]
        of_it = [one for one in models if revision in (one.revision, one.commit)]
        if not of_it:
            here = ", ".join(dict.fromkeys(one.repo for one in self._bundle.manifest.models))
            raise ModelNotFound(
                f"the bundle has no {repo}" + f" of revision {revision}" * bool(models),
                hint=f"it has {here}",
            )
        commit = of_it[0].commit
        same = (one for one in models if one.commit == commit)
        files = {file.path: file for one in same for file in one.repo_files}
        return Repository(
            repo, revision, commit, of_it[0].license, tuple(files.values()), of_it[0].hub
        )

    def read_range(self, url: str, start: int, end: int) -> bytes:
        """Bytes [start, end), fewer where the file ends. Raises BadBundle, StorageError."""
        return b"".join(self.stream(url, start, end))

    def stream(self, url: str, start: int, end: int | None = None) -> Iterator[bytes]:
        """Through the pieces, where it is cut. Raises BadBundle, StorageError."""
        if url not in self._files:
            raise BadBundle(f"the bundle's manifest has no {url}")
        model, file = self._files[url]
        with reading(self._bundle.place):
            yield from chunks(self._bundle, model, file, start, end)


def chunks(
    bundle: Bundle,
    model: BundledModel,
    file: BundledFile,
    start: int = 0,
    end: int | None = None,
) -> Iterator[bytes]:
    """Bytes [start, end) of a file. Raises BadBundle, OSError."""
    end = file.size_bytes if end is None else min(end, file.size_bytes)
    at = 0
    for name, size_bytes in model.parts(file):
        first, last = max(start - at, 0), min(end - at, size_bytes)
        if first < last or (size_bytes == 0 == file.size_bytes):
            yield from bundle.source.chunks(name, size_bytes, first, last)
        at += size_bytes
