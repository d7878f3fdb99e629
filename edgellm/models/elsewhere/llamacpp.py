"""llama.cpp's own cache, of builds that don't share Hugging Face's yet:

    ORG_REPO_FILE.gguf             beside it .json or .etag, which say what the hub said of it
    manifest=ORG=REPO=TAG.json     for each that was asked for by its repository

Sources, in llama.cpp's repository: common/common.cpp (fs_get_cache_directory: LLAMA_CACHE, else the
user's caches), common/download.cpp and hf-cache.cpp (the names). Newer builds move all of it to
Hugging Face's cache, which is edgellm's own.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgellm.files import path_of
from edgellm.models.elsewhere.folders import files_below, models_in
from edgellm.models.elsewhere.found import FoundModel, Unservable

TOOL: Final = "llamacpp"
_MANIFEST: Final = re.compile(r"manifest=([\w.-]+)=([\w.-]+)=[^=]*\.json", re.ASCII)


def stores() -> tuple[Path, ...]:
    if given := os.environ.get("LLAMA_CACHE"):
        return (path_of(given),)
    return (_caches() / "llama.cpp",)


def models() -> Iterator[FoundModel | Unservable]:
    """By repository, where a manifest tells it; else by file."""
    for store in stores():
        repos = _repos(store)
        groups: dict[str, dict[str, Path]] = {}
        for name, path in files_below(store):
            if "/" in name:  # of a cache in Hugging Face's manner
                continue
            prefix = max((one for one in repos if name.startswith(one)), key=len, default="")
            group = repos.get(prefix, "")
            groups.setdefault(group, {})[name.removeprefix(prefix)] = path
        yield from models_in(TOOL, groups)


def removal(name: str) -> str:
    return f"remove the file of {name} from {stores()[0]}"


def _repos(store: Path) -> dict[str, str]:
    """What its files' names begin with -> ORG/REPO."""
    try:
        names = [one.name for one in store.iterdir()]
    except OSError:
        return {}
    matches = filter(None, map(_MANIFEST.fullmatch, names))
    return {f"{match[1]}_{match[2]}_": f"{match[1]}/{match[2]}" for match in matches}


def _caches() -> Path:
    if sys.platform == "darwin":
        return path_of("~/Library/Caches")
    if sys.platform == "win32":
        return path_of(os.environ.get("LOCALAPPDATA") or "~/AppData/Local")
    return path_of(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
