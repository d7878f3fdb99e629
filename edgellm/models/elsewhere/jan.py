"""Jan's folder: llamacpp/models/NAME/model.gguf in its data folder, a projector beside it; a NAME
may have folders of its own. What was imported from elsewhere is a path in model.yml, and stays a
path of the user's: it is not followed.

Source: Jan's llamacpp-extension (src/index.ts), which is where its folders are said.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgellm.files import path_of
from edgellm.models.elsewhere.folders import files_below, models_in
from edgellm.models.elsewhere.found import FoundModel, Unservable

TOOL: Final = "jan"


def stores() -> tuple[Path, ...]:
    """Its data folder on each system; the older app, too, had one."""
    if sys.platform == "darwin":
        data = ("~/Library/Application Support",)
    elif sys.platform == "win32":
        data = (os.environ.get("APPDATA") or "~/AppData/Roaming",)
    else:
        environ = os.environ
        data = (
            environ.get("XDG_DATA_HOME") or "~/.local/share",
            environ.get("XDG_CONFIG_HOME") or "~/.config",
        )
    return tuple(path_of(folder) / "Jan/data/llamacpp/models" for folder in data)


def models() -> Iterator[FoundModel | Unservable]:
    for store in stores():
        groups: dict[str, dict[str, Path]] = {}
        for at, path in files_below(store):
            folder, _, name = at.rpartition("/")
            groups.setdefault(folder, {})[name] = path
        yield from models_in(TOOL, groups)


def removal(name: str) -> str:
    return f"remove {name} in Jan, under Settings"
