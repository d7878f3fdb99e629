"""How long a text's methods and Jinja's filters make it, before they do. Pure.

Estimates are never too low. What is not named here makes nothing longer, or a few times at most.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from string import Formatter
from typing import Any, Protocol, TypeAlias

from edgellm.chat.templating.allowance import MAX_LENGTH, Exceeded
from edgellm.chat.templating.walking import written_length

Arguments: TypeAlias = Sequence[Any]  # positional ones, then those by name

_NUMBER = re.compile(r"\d+")
_MAX_DIGITS = 10
_MAX_PLACES = 99  # that a number is rounded to: Jinja computes 10 ** places
_STRFTIME = 256  # times its format is what CPython gives the text (timemodule.c: time_strftime)
# Methods that compare a whole mark, or look for a character among others, at each place.
_AT_EACH_PLACE = frozenset({"rfind", "rindex", "rsplit", "rpartition", "strip", "lstrip", "rstrip"})
_PIECE = 64  # bytes that a piece of a split text takes, whatever is in it


def by_method(text: str, name: str, arguments: Arguments) -> int:
    """What `text.name(*arguments)` is going to be long."""
    estimate = _METHODS.get(name)
    return estimate(text, arguments) if estimate else 3 * len(text)


def looked_at(text: str, name: str, arguments: Arguments) -> int:
    """Characters that `text.name(*arguments)` looks at, those that take long more than once."""
    if name in _AT_EACH_PLACE:
        return len(text) * max([1, *(len(one) for one in arguments if isinstance(one, str))])
    return len(text) * _SLOW_METHODS.get(name, 1)


def looked_at_by_filter(text: str, name: str, arguments: Arguments) -> int:
    if name == "trim":
        return looked_at(text, "strip", arguments)
    return len(text) * _SLOW_FILTERS.get(name, 1)


def by_strftime(arguments: Arguments) -> int:
    return _STRFTIME * written_length(arguments)


def by_filter(name: str, value: Any, arguments: Arguments) -> int:
    """What `value|name(*arguments)` is going to be long. Raises Exceeded."""
    if name == "round" and _widest(arguments) > _MAX_PLACES:
        raise Exceeded(f"its `round` wants more than {_MAX_PLACES} places")
    if name == "format":
        written_length(value)  # before it is written out
        return by_format(str(value), arguments)
    estimate = _FILTERS.get(name)
    if estimate is None:
        return 3 * len(value) if isinstance(value, str) else 0
    return estimate(value if isinstance(value, str) else _Written(value), arguments)


def by_format(text: str, arguments: Arguments) -> int:
    """`text % arguments`, or `text.format(*arguments)`: widths may be written, or be arguments.

    Those of `text.format` may be parts of arguments too: `refuse_nested_fields` comes before.
    """
    widths = sum(_number(digits) for digits in _NUMBER.findall(text))
    n_fields = text.count("%") + text.count("{")
    longest = max((written_length(one) for one in arguments), default=0)
    return len(text) + widths + n_fields * (longest + _widest(arguments))


def refuse_nested_fields(text: str) -> None:
    """`{:>{w}}` takes its width from an argument, a part of one, a text: from anywhere.

    Raises Exceeded, and ValueError for what is no format.
    """
    if any("{" in (spec or "") for _, _, spec, _ in Formatter().parse(text)):
        raise Exceeded("its `format` takes a width from an argument")


class Text(Protocol):
    """A text, or what knows how long another value's text is."""

    def __len__(self) -> int: ...

    def count(self, part: str, /) -> int: ...


class _Written:
    def __init__(self, value: Any) -> None:
        self._length = 8 * written_length(value)  # quotes, commas, escapes

    def __len__(self) -> int:
        return self._length

    def count(self, part: str, /) -> int:
        return self._length


def _padded(text: Text, arguments: Arguments) -> int:
    return max(len(text), _widest(arguments) if arguments else 80)


def _replaced(text: Text, arguments: Arguments) -> int:
    old, new = ([one for one in arguments if isinstance(one, str)] + ["", ""])[:2]
    return len(text) + text.count(old) * len(new)


def _joined(text: Text, arguments: Arguments) -> int:
    parts = arguments[0] if arguments else ()
    return written_length(parts) + len(text) * (len(parts) if hasattr(parts, "__len__") else 0)


def _translated(text: Text, arguments: Arguments) -> int:
    table = arguments[0] if arguments and isinstance(arguments[0], Mapping) else {}
    return len(text) * max([1, *(len(one) for one in table.values() if isinstance(one, str))])


def _split(text: Text, arguments: Arguments) -> int:
    mark = next((one for one in arguments if isinstance(one, str)), "")
    return len(text) + _PIECE * (text.count(mark) if mark else len(text) // 2 + 1)


def _lines(text: Text, arguments: Arguments) -> int:
    return len(text) + _PIECE * text.count("\n")


def _tabs(text: Text, arguments: Arguments) -> int:
    return len(text) + text.count("\t") * max(_widest(arguments), 8)


def _indented(text: Text, arguments: Arguments) -> int:
    words = max((len(one) for one in arguments if isinstance(one, str)), default=0)
    return len(text) + (text.count("\n") + 1) * max(_widest(arguments), words, 4)


def _filled(value: Text, arguments: Arguments) -> int:
    return _PIECE * (len(value) + _widest(arguments))


def _written_as_json(value: Text, arguments: Arguments) -> int:
    """But for the indent of what is deep, which is counted as it is written (sandbox.py)."""
    marks = [one for one in arguments if isinstance(one, str | list | tuple)]  # indent, separators
    return len(value) * (1 + _widest(arguments) + (written_length(marks) if marks else 0))


def _times(n: int) -> Callable[[Text, Arguments], int]:
    return lambda value, arguments: n * len(value)


def _between(value: Text, arguments: Arguments) -> int:
    mark = max((len(one) for one in arguments if isinstance(one, str)), default=0)
    return len(value) * (1 + mark)


def _widest(arguments: Arguments) -> int:
    return max(
        (min(abs(one), MAX_LENGTH + 1) for one in arguments if isinstance(one, int)), default=0
    )


def _number(digits: str) -> int:
    return int(digits) if len(digits) <= _MAX_DIGITS else MAX_LENGTH + 1


_METHODS: Mapping[str, Callable[[Text, Arguments], int]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _padded),
    **dict.fromkeys(("split", "rsplit"), _split),
    "replace": _replaced, "join": _joined, "translate": _translated, "splitlines": _lines,
    "expandtabs": _tabs,
}  # fmt: skip
_FILTERS: Mapping[str, Callable[[Text, Arguments], int]] = {
    **dict.fromkeys(("batch", "slice"), _filled),
    **dict.fromkeys(("escape", "e", "forceescape"), _times(8)),
    **dict.fromkeys(("string", "sum", "sort", "unique"), _times(1)),
    **dict.fromkeys(("upper", "lower", "capitalize", "trim", "safe", "truncate"), _times(3)),
    **dict.fromkeys(("min", "max", "dictsort", "groupby"), _times(1)),
    "center": _padded, "indent": _indented, "replace": _replaced, "tojson": _written_as_json,
    "join": _between, "urlencode": _times(12), "title": _times(_PIECE),
}  # fmt: skip

# Nanoseconds a character, measured; a search takes 1.
_SLOW_METHODS: Mapping[str, int] = {
    **dict.fromkeys(("lower", "upper", "casefold", "title", "swapcase", "capitalize"), 8),
    **dict.fromkeys(("split", "splitlines"), 16), "translate": 48,
}  # fmt: skip
_SLOW_FILTERS: Mapping[str, int] = {
    **dict.fromkeys(("lower", "upper", "capitalize", "int", "float", "tojson", "list"), 8),
    "indent": 40, "urlencode": 64, "title": 200,
}  # fmt: skip
