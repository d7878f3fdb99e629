"""LM Studio's folder: models/PUBLISHER/MODEL/FILE.gguf, as the repositories have it.

Its home is what ~/.lmstudio-home-pointer says, else ~/.cache/lm-studio where that is, else
~/.lmstudio (lmstudio-js: findLMStudioHome); the models' folder may be set elsewhere in the app
(`downloadsFolder` of settings.json). Source of the tree: lmstudio.ai/docs, "Import Models".
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from edgellm.files import path_of
from edgellm.models.elsewhere.folders import by_folder, files_below, models_in
from edgellm.models.elsewhere.found import FoundModel, Unservable

TOOL: Final = "lmstudio"
_MAX_BYTES: Final = 1 << 20


class _Settings(msgspec.Struct):
    downloads_folder: str = msgspec.field(name="downloadsFolder", default="")


def stores() -> tuple[Path, ...]:
    home = _home()
    return (_set_folder(home / "settings.json") or home / "models",)


def models() -> Iterator[FoundModel | Unservable]:
    for store in stores():
        yield from models_in(TOOL, by_folder(files_below(store), depth=2))


def removal(name: str) -> str:
    return f"remove {name} in LM Studio, under My Models"


def _home() -> Path:
    pointed = _text(path_of("~/.lmstudio-home-pointer")).strip()
    if pointed and "\0" not in pointed:
        return path_of(pointed)
    older = path_of("~/.cache/lm-studio")
    is_there = os.path.isdir(older)  # noqa: PTH112 - which never raises
    return older if is_there else path_of("~/.lmstudio")


def _set_folder(settings: Path) -> Path | None:
    try:
        found = msgspec.json.decode(_text(settings), type=_Settings)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    folder = found.downloads_folder
    return path_of(folder) if folder and "\0" not in folder else None


def _text(path: Path) -> str:
    """Nothing of what can't be read, or is no small text."""
    try:
        if path.is_file():
            with path.open(encoding="utf-8-sig") as file:
                return file.read(_MAX_BYTES)
    except (OSError, ValueError):
        pass
    return ""
