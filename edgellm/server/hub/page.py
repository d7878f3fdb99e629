"""What a person reads who asks the hub with curl: what is here, and what to type. Pure."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from edgellm.models.repo_files import group_files
from edgellm.server.hub.told import Copy, sorted_by_name
from edgellm.tables import table
from edgellm.units import format_bytes

Row: TypeAlias = tuple[str, str]  # a model's name and its size


def page(copies: Iterable[Copy], url: str, *, has_key: bool) -> str:
    lines = ["edgellm mirror: a model hub from one disk", "", *how_to(url, has_key=has_key), ""]
    return "\n".join([*lines, table_of(rows_of(copies)), ""])


def table_of(rows: Sequence[Row]) -> str:
    if not rows:
        return "Nothing is here yet: edgellm pull MODEL on this machine, and it is served."
    return table(("MODEL", "SIZE"), rows, right="SIZE")


def rows_of(copies: Iterable[Copy]) -> list[Row]:
    """A line for each model, by name; one for a repository that has none in llama.cpp's format."""
    return [row for copy in sorted_by_name(copies) for row in _rows(copy)]


def how_to(url: str, *, has_key: bool) -> list[str]:
    """What is typed on the other machines. The key is named, never told."""
    return [
        "On the other machines:",
        "",
        f"  export HF_ENDPOINT={url}",
        *(["  export HF_TOKEN=…            # a key of the mirror"] if has_key else []),
        "  edgellm pull ORG/REPO:QUANT   # or hf download, or llama-server -hf",
    ]


def _rows(copy: Copy) -> list[Row]:
    """Its names are printable: no other is on the shelf."""
    listing = group_files(copy.files)
    rows = []
    for model in listing.models:
        name = f"{copy.repo}:{model.quant}" if model.label else f"{copy.repo}/{model.files[0].path}"
        size = format_bytes(model.size_bytes)
        rows.append((name, f"{size}, not whole" if model.missing else size))
    return rows or [(copy.repo, format_bytes(copy.size_bytes))]
