"""What a person reads who asks the hub with curl: what is here, and what to type. Pure."""

from collections.abc import Iterable

from edgellm.harmless import plain
from edgellm.models.names import group_files
from edgellm.server.hub.told import Copy
from edgellm.tables import table
from edgellm.units import format_bytes


def page(copies: Iterable[Copy], url: str, *, has_key: bool) -> str:
    rows = [row for copy in copies for row in _rows(copy)]
    lines = ["edgellm mirror: a model hub from one disk", "", *how_to(url, has_key=has_key), ""]
    if not rows:
        return "\n".join([*lines, "Nothing is here yet: edgellm pull MODEL on this machine.", ""])
    return "\n".join([*lines, table(("MODEL", "SIZE"), rows, right="SIZE"), ""])


def how_to(url: str, *, has_key: bool) -> list[str]:
    """What is typed on the other machines. The key is named, never told."""
    return [
        "On the other machines:",
        "",
        f"  export HF_ENDPOINT={url}",
        *(["  export HF_TOKEN=…            # a key of the mirror"] if has_key else []),
        "  edgellm pull ORG/REPO:QUANT   # or hf download, or llama-server -hf",
    ]


def _rows(copy: Copy) -> list[tuple[str, str]]:
    """A line for each model; one for a repository that has none in llama.cpp's format."""
    listing = group_files(copy.files)
    rows = []
    for model in listing.models:
        name = f"{copy.repo}:{model.quant}" if model.label else f"{copy.repo}/{model.files[0].path}"
        size = format_bytes(model.size_bytes)
        rows.append((plain(name), f"{size}, not whole" if model.missing else size))
    return rows or [(plain(copy.repo), format_bytes(copy.size_bytes))]
