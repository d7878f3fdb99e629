"""What a server tells: every text of it made harmless, once, at the door."""

from typing import TypeAlias

import msgspec

from edgellm.harmless import plain
from edgellm.status import Status

_Builtin: TypeAlias = (
    "str | int | float | bool | list[_Builtin] | tuple[_Builtin, ...] | dict[str, _Builtin] | None"
)


def clean(status: Status) -> Status:
    """Every string in it, however deep: a field that Status gains tomorrow is covered today."""
    return msgspec.convert(_cleaned(msgspec.to_builtins(status)), Status)


def _cleaned(value: _Builtin) -> _Builtin:
    match value:
        case str():
            return plain(value)
        case list() | tuple():
            return [_cleaned(item) for item in value]
        case dict():
            return {plain(key): _cleaned(item) for key, item in value.items()}
        case _:
            return value
