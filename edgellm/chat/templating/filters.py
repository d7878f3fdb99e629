"""Jinja's filters and tests, each of which looks first at how much work it is going to be.

Closed by default: of a filter's or a test's value and arguments all is walked through, but for the
few here that look at no more than what a value is. Import this module late, as sandbox.py.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from jinja2.environment import Environment  # noqa: TID253
from jinja2.filters import ignore_case, make_attrgetter  # noqa: TID253
from jinja2.runtime import LoopContext  # noqa: TID253
from jinja2.utils import pass_environment  # noqa: TID253

from edgellm.chat.templating.allowance import ELEMENT, Exceeded, ours
from edgellm.chat.templating.growth import by_filter, looked_at_by_filter
from edgellm.chat.templating.walking import MAX_NODES, keyed, walked

# Filters that look at no more of a value than that it is there, and what is around it; and those
# that look at each that is in it.
_SHALLOW = frozenset({
    "count", "d", "default", "first", "items", "last", "length", "list", "map", "random", "reject",
    "rejectattr", "reverse", "select", "selectattr",
})  # fmt: skip
_EACH = frozenset({
    "batch", "dictsort", "groupby", "join", "list", "max", "min", "slice", "sort", "sum", "unique",
})  # fmt: skip
_LAZY = frozenset({"map", "reject", "rejectattr", "select", "selectattr", "unique"})
# Where a filter is told the path to what it looks at in each, and how long that may be.
_PATH_AT = {"groupby": 0, "join": 1, "max": 1, "min": 1, "rejectattr": 0, "selectattr": 0,
            "sort": 2, "sum": 0, "unique": 1}  # fmt: skip
_MAX_PATH = 100
_MAX_DEPTH = 50  # of filters that wait for one another

# Tests that ask what a value is. All others look into it.
_KIND = frozenset({
    "boolean", "callable", "defined", "divisibleby", "escaped", "even", "false", "float", "integer",
    "iterable", "mapping", "none", "number", "odd", "sameas", "sequence", "string", "true",
    "undefined",
})  # fmt: skip
_OF_NUMBERS = frozenset({"divisibleby", "even", "odd"})  # `%`, which writes a text's fields out
UNBOUNDED_TESTS = _KIND - _OF_NUMBERS


def looked_into(value: Any) -> Any:
    """All of it, in one call."""
    if isinstance(value, str):
        ours().look(len(value))
    elif value is not None and not isinstance(value, int):
        ours().look(*walked(value))
    return value


def as_list(value: Any) -> Any:
    """What has a length."""
    return value if hasattr(value, "__len__") else [*value]


def each(value: Any) -> Any:
    """It is about to be gone through, in steps that nobody sees."""
    if isinstance(value, LoopContext):
        walked(value)  # raises
    n_elements = (
        len(value) if hasattr(value, "__len__") else 0
    )  # else they are counted as they come
    if isinstance(value, str) and n_elements > MAX_NODES:
        raise Exceeded(f"it goes through a text of {n_elements} characters one by one")
    ours().step(n_elements // 2)
    return value


class _Waiting:
    """What a filter gives one after the other, when it is asked."""

    def __init__(self, given: Iterator[Any], depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise Exceeded(f"more than {_MAX_DEPTH} of its filters wait for one another")
        self._given, self.depth = given, depth

    def __iter__(self) -> Iterator[Any]:
        return _pulled(self._given)


def _pulled(given: Iterable[Any]) -> Iterator[Any]:
    """Each one a step, as it is taken."""
    step = ours().step
    for one in given:
        step()
        yield one


def bounded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    at = 1 if hasattr(function, "jinja_pass_arg") else 0  # the environment comes before the value
    is_lazy, wants_list, has_path = name in _LAZY, name in ("join", "sum"), name in _PATH_AT

    @functools.wraps(function)
    def bounded_one(*args: Any, **kwargs: Any) -> Any:
        value, others = args[at], args[at + 1 :]
        arguments = (*others, *kwargs.values()) if kwargs else others
        depth = value.depth + 1 if type(value) is _Waiting else 1
        if wants_list:
            value = as_list(value)
        elif is_lazy and value and depth == 1:
            value = _pulled(value)
        _look_into(name, value, arguments)
        if kwargs or has_path:
            _check_path(name, others, kwargs)
        allowance = ours()
        allowance.make(by_filter(name, value, arguments), name)
        result = function(*args[:at], value, *others, **kwargs)
        if isinstance(result, str):
            allowance.make(len(result), "text")
        elif isinstance(result, Iterator):
            return _Waiting(result, depth)
        else:
            allowance.made(result)
        return result

    return bounded_one


def _look_into(name: str, value: Any, arguments: Sequence[Any]) -> None:
    allowance = ours()
    allowance.step(1 + len(arguments) // 4)
    if name in _EACH:
        each(value)
    if isinstance(value, str):
        allowance.look(looked_at_by_filter(value, name, arguments))
    elif name not in _SHALLOW and value is not None:
        allowance.look(*walked(value))
    if arguments and name not in ("d", "default"):
        for one in arguments:
            looked_into(one)
    if name == "round" and not isinstance(value, int | float):
        raise TypeError("only a number can be rounded")  # a text would be multiplied
    if name == "sum" and any(isinstance(one, list | tuple) for one in arguments):
        n_nodes = walked(value).n_nodes  # each sum of lists is a list of its own
        allowance.look(len(value) * n_nodes * ELEMENT // 2)


def _check_path(name: str, others: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    at = _PATH_AT.get(name, len(others))
    for path in (*others[at : at + 1], kwargs.get("attribute")):
        if isinstance(keyed(path), str) and len(path) > _MAX_PATH:
            raise Exceeded(f"its `{name}` looks for a path of {len(path)} characters")


def bounded_test(name: str, test: Any) -> Callable[..., Any]:
    """Tests are asked for each element too; what asks then counts that."""

    @functools.wraps(test)
    def of_numbers(value: Any, *others: Any) -> Any:
        if isinstance(value, str):
            raise TypeError(f"a text is not {name}")
        return test(value, *others)

    @functools.wraps(test)
    def looking(*args: Any) -> Any:
        return test(*map(looked_into, args))

    return of_numbers if name in _OF_NUMBERS else looking


@pass_environment
def unique(
    environment: Environment,
    value: Iterable[Any],
    case_sensitive: bool = False,
    attribute: str | int | None = None,
) -> Iterator[Any]:
    """Jinja's, whose keys are looked at."""
    postprocess = None if case_sensitive else ignore_case
    key_of, seen = make_attrgetter(environment, attribute, postprocess=postprocess), set()
    for one in value:
        key = keyed(key_of(one))
        if key not in seen:
            seen.add(key)
            yield one
