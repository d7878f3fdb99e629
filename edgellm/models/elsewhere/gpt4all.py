"""GPT4All's folder of GGUF files, in the data folder of its maker on each system. Another one that
was chosen in the app is not known here. Sources: docs.gpt4all.io, "Models"; what a file is called
until it is whole, gpt4all-chat's modellist.cpp (incompleteDownloadPath)."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgellm.files import path_of
from edgellm.models.elsewhere.folders import by_folder, files_below, models_in
from edgellm.models.elsewhere.found import FoundModel, Unservable

TOOL: Final = "gpt4all"
_ON_ITS_WAY: Final = "incomplete-"


def stores() -> tuple[Path, ...]:
    if sys.platform == "darwin":
        data = "~/Library/Application Support"
    elif sys.platform == "win32":
        data = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    else:
        data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return (path_of(data) / "nomic.ai/GPT4All",)


def models() -> Iterator[FoundModel | Unservable]:
    for store in stores():
        files = files_below(store)
        whole = (one for one in files if not one[1].name.startswith(_ON_ITS_WAY))
        yield from models_in(TOOL, by_folder(whole, depth=0))


def removal(name: str) -> str:
    return f"remove {name} in GPT4All, under Models"
