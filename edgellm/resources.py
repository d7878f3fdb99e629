"""The files that ship with edgellm: profiles/ and the demo model.

A wheel carries profiles/ inside the package; an editable install has it beside the package,
at the repository's root. Everybody asks here, so nobody else has to know.
"""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgellm.errors import ConfigError

_PACKAGE = Path(__file__).parent


class ProfileRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Numbers that we did not compute. A misspelt key is an error, not a default."""

    source: str = ""
    date: str = ""
    note: str = ""


RowT = TypeVar("RowT", bound=ProfileRow)


def profiles_dir() -> Path:
    """Raises ConfigError when the installation lost them."""
    for place in (_PACKAGE / "profiles", _PACKAGE.parent / "profiles"):
        if (place / "workloads").is_dir():
            return place
    raise ConfigError("profiles/ is missing from this installation", hint="install edgellm again")


def read_profile(path: Path, kind: type[RowT]) -> RowT:
    """Raises ConfigError, naming the file, for one that can't be read or says something odd."""
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        row = msgspec.convert(data, kind)
    except OSError as error:
        raise ConfigError(f"{path.name} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"profiles/{path.name}: {error}") from error
    if not row.date:
        raise ConfigError(f"profiles/{path.name} has no date")
    return row


def demo_model() -> Path:
    """The tiny model that works without network and without a download."""
    return _PACKAGE / "demo" / "demo.gguf"
