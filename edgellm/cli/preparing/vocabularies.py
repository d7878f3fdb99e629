"""Vocabularies that earlier commands have read, so that another file of the model opens faster."""

from collections.abc import Iterator
from contextlib import contextmanager

from edgellm.models.gguf.known_arrays import KNOWN_ARRAYS, KnownArray
from edgellm.probe.asked import cache_files


@contextmanager
def remembered() -> Iterator[None]:
    """For the headers that are read in this block."""
    path = cache_files.folder() / "vocabularies.json"
    known = cache_files.load(path, tuple[KnownArray, ...], ())
    KNOWN_ARRAYS.update(known)
    yield
    if set(latest := KNOWN_ARRAYS.latest()) - set(known):
        cache_files.save(path, latest)
