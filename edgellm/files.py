"""Small files that others may read at any moment, and paths as people write them."""

import os
import tempfile
from pathlib import Path


def path_of(text: str) -> Path:
    """`~` is one's home. Nobody's (`~nobody/x`) is a name, as in a shell: pathlib would raise."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - see above


def write_whole(path: Path, data: bytes) -> None:
    """Whole or not at all, and nothing left beside it; for this user's eyes only. Not to be counted
    on after a power cut. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".new")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
