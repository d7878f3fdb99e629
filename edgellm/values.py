"""`frozen`: a frozen, slotted dataclass, made in a quarter of the time.

The standard library writes and compiles six functions for each such class, 0.1 ms each; a plan
imports 126 of them, which was a quarter of its time. Only `__init__` has to be code of the class's
own, the others are closures over the names of its fields. All else is the standard library's:
`fields`, `replace`, `field(default_factory=…)`, `__post_init__`, `match`.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def frozen(cls: type[T]) -> type[T]: ...
@overload
def frozen(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(Field, field))
def frozen(cls: Any = None, *, kw_only: bool = False) -> Any:
    """As `dataclass(frozen=True, slots=True, kw_only=kw_only)`, but without InitVar."""
    if cls is None:
        return lambda cls: _made(cls, kw_only)
    return _made(cls, kw_only)


def _made(cls: Any, kw_only: bool) -> Any:
    if cls.__doc__ is None:
        cls.__doc__ = cls.__name__  # the library would write its signature, which takes as long
    made: Any = dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(cls)
    all_fields = fields(made)
    equal, hashed = _equality(one.name for one in all_fields if one.compare)
    functions = {
        "__init__": _init(made, all_fields),
        "__repr__": _repr([one.name for one in all_fields if one.repr]),
        "__eq__": equal,
        "__hash__": hashed,
        "__setattr__": _no_change,
        "__delattr__": _no_removal,
        "__getstate__": _parts,
        "__setstate__": _filled,
    }
    for name, function in functions.items():
        if name not in made.__dict__:  # else the class has written its own
            setattr(made, name, function)
    return made


def _init(cls: Any, all_fields: tuple[Field[Any], ...]) -> Callable[..., None]:
    """It fills each slot by the slot's own setter, past `__setattr__`."""
    known: dict[str, Any] = {"MISSING": MISSING}
    by_place, by_name, lines = ["self"], ["*"], []
    for one in all_fields:
        name = word = given = one.name
        known[f"set_{name}"] = getattr(cls, name).__set__
        if one.default_factory is not MISSING:
            known[f"make_{name}"] = one.default_factory
            word, given = f"{name}=MISSING", f"make_{name}() if {name} is MISSING else {name}"
        elif one.default is not MISSING:
            known[f"default_{name}"] = one.default
            word = f"{name}=default_{name}"
        if one.init:
            (by_name if one.kw_only else by_place).append(word)
        elif word != name:  # nobody gives it, so it is what it would be otherwise
            lines.append(f"{name} = {word.partition('=')[2]}")
        if one.init or word != name:
            lines.append(f"set_{name}(self, {given})")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    words = by_place + (by_name if len(by_name) > 1 else [])
    exec(f"def __init__({', '.join(words)}):\n " + "\n ".join(lines or ["pass"]), known)
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"  # as a wrong call's TypeError says it
    return made


def _repr(names: list[str]) -> Callable[[Any], str]:
    def told(self: Any) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({inside})"

    return told


def _equality(compared: Any) -> tuple[Callable[[Any, Any], bool], Callable[[Any], int]]:
    names = tuple(compared)
    several = attrgetter(*names) if len(names) > 1 else None

    def parts(self: Any) -> Any:
        return tuple(getattr(self, name) for name in names)

    of: Callable[[Any], Any] = several or parts

    def equal(self: Any, other: object) -> bool:
        return of(self) == of(other) if type(other) is type(self) else NotImplemented

    def hashed(self: Any) -> int:
        return hash(of(self))

    return equal, hashed


def _parts(self: Any) -> list[Any]:
    """What a copy or a pickle takes along, as the library's slotted classes do."""
    return [getattr(self, one.name) for one in fields(self)]


def _filled(self: Any, parts: list[Any]) -> None:
    for one, part in zip(fields(self), parts, strict=True):
        object.__setattr__(self, one.name, part)


def _no_change(self: Any, name: str, to: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _no_removal(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
