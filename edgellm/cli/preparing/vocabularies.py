"""Which vocabularies earlier commands stepped over: a file of a model known is read at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from edgellm.models.gguf.walked import WALKED, Walk
from edgellm.probe.asked.keeping import folder, keep, kept


@contextmanager
def remembered() -> Iterator[None]:
    """Headers that are read meanwhile."""
    path = folder() / "vocabularies.json"
    known = kept(path, tuple[Walk, ...], ())
    WALKED.give(known)
    yield
    if set(latest := WALKED.latest()) - set(known):
        keep(path, latest)
