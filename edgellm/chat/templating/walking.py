"""How much there is in a value: a list may hold another one twice, and that a third one twice.

Whoever compares, hashes or writes out such a value looks at all of it in one step that nobody can
break off, so how much it is is found out before. Pure.
"""

from collections.abc import Mapping, Set, ValuesView
from itertools import chain
from typing import Any, NamedTuple

from jinja2.runtime import LoopContext  # noqa: TID253 - sandbox.py, too, is imported late
from jinja2.utils import Namespace  # noqa: TID253

from edgellm.chat.templating.allowance import MAX_LENGTH, Exceeded

MAX_NODES = 250_000  # values inside a value, each as often as it is there
MAX_DEPTH = 500  # CPython hashes what is deeper until its stack ends

_HASH_BITS = 60  # whole numbers of more have the hash of smaller ones (CPython: modulo 2^61 - 1)
_TOO_MUCH = "it writes out or compares a value that has too many others in it"


class Walked(NamedTuple):
    length: int  # characters of its texts
    n_nodes: int


def walked(value: Any) -> Walked:
    """Raises Exceeded where it is far too much to find out."""
    if isinstance(value, str):
        return Walked(len(value), 0)
    length = n_nodes = depth = 0
    level = [value]
    while level:
        n_nodes += len(level)
        if n_nodes > MAX_NODES or depth > MAX_DEPTH:
            raise Exceeded(_TOO_MUCH)
        below: list[Any] = []
        for one in level:
            if isinstance(one, str):
                length += len(one)
            elif one is None or isinstance(one, int | float):
                continue
            else:
                below += _inside(one)
                if len(below) > MAX_NODES:
                    break
        level, depth = below, depth + 1
        if length > MAX_LENGTH:
            raise Exceeded(_TOO_MUCH)
    return Walked(length, n_nodes)


def _inside(one: Any) -> Any:
    if isinstance(one, list | tuple | Set | ValuesView | range):
        return one
    if isinstance(one, Mapping):
        return chain(one, one.values())
    if isinstance(one, Namespace):
        return one._Namespace__attrs.values()  # its only way in
    if isinstance(one, LoopContext):
        raise Exceeded("it looks through the rounds of its own loop")
    return ()


def written_length(value: Any) -> int:
    """At least how long `str(value)` is. Raises Exceeded."""
    return sum(walked(value))


def keyed(key: Any) -> Any:
    """What may be looked for in a mapping, or be a key of one. Raises Exceeded.

    A text or a small number. Of nested tuples, and of numbers beyond 2^61, many have the same hash,
    and a tuple's takes as long as there is something in it.
    """
    is_known = key is None or isinstance(key, str | float)
    if not is_known and isinstance(key, int | list | tuple | Mapping | Set | range):
        if not isinstance(key, int):
            raise Exceeded("it takes a list for a key")
        if key.bit_length() > _HASH_BITS:
            raise Exceeded("it takes a number of too many digits for a key")
    return key
