"""Where a stranger's template runs: Jinja's immutable sandbox, with bounds on work and memory.

allowance.py counts steps and characters, walking.py finds out how much there is in a value,
growth.py knows what makes much of little. Here they are put where Jinja does things: calls,
operators, filters, tests, what is written out, and, because Jinja asks nobody about `~`,
comparisons, slices, keys and rounds of a loop, into the template's own tree (tree.py).

What is called is walked through before, whatever it is, but for the few that are named here:
nobody can break off what CPython does within one call. Nothing that a template is given can it
change, only lists that it has made itself. Import this module late: jinja2 comes with it.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import jinja2  # noqa: TID253 - whoever renders imports this module, and nobody before
from jinja2 import nodes  # noqa: TID253
from jinja2.ext import Extension, loopcontrols  # noqa: TID253
from jinja2.runtime import (  # noqa: TID253
    BlockReference,
    Context,
    LoopContext,
    Macro,
    TemplateReference,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: TID253
from jinja2.utils import Cycler, Joiner, Namespace  # noqa: TID253

from edgellm.chat.templating.allowance import ELEMENT, MAX_LENGTH, Exceeded, ours
from edgellm.chat.templating.filters import (
    UNBOUNDED_TESTS,
    as_list,
    bounded_filter,
    bounded_test,
    each,
    looked_into,
    unique,
)
from edgellm.chat.templating.growth import (
    by_format,
    by_method,
    by_strftime,
    looked_at,
    refuse_nested_fields,
)
from edgellm.chat.templating.tree import counted
from edgellm.chat.templating.walking import keyed, written_length

# What a template may ask for attributes, and so for methods. Numbers' (`to_bytes`) and bytes' are
# in no table of growth.py, so nobody gets there, nor to `encode`, which makes bytes, nor to what
# makes a mapping of keys that nobody has looked at.
_WITH_ATTRIBUTES = (
    str, list, tuple, Mapping, Namespace, LoopContext, Macro, BlockReference, TemplateReference,
    Cycler, Joiner, jinja2.Undefined,
)  # fmt: skip
_NEVER = frozenset({"encode", "fromkeys", "maketrans"})
_CHANGES = frozenset({"append", "pop"})  # of a template's own list; Kimi K2's keeps a queue

# Filters made for HTML, for prose and for Python's own notation, which take minutes for what is
# long or deep. No model's template has them, and llama.cpp knows none of them.
_NO_FILTERS = frozenset({
    "filesizeformat", "pprint", "striptags", "urlize", "wordcount", "wordwrap", "xmlattr",
})  # fmt: skip

MAX_SOURCE = 1 << 18  # characters of a template; the longest of real ones have 30,000


class _OwnList(list[Any]):
    """A list that the template wrote, or a part of one that it cut off."""


class Generation(Extension):
    """`{% generation %}` marks what to train on; here its body is just text."""

    tags = {"generation"}  # noqa: RUF012  # jinja2 declares it as an instance's

    def parse(self, parser: jinja2.parser.Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if len(source) > MAX_SOURCE:
            raise Exceeded(f"it has {len(source)} characters, more than {MAX_SOURCE}")
        return counted(super()._parse(source, name, filename))

    def call(self, context: Context, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        if id(called) in _OURS:
            return called(*args)
        allowance = ours()
        allowance.step(1 + (len(args) + len(kwargs)) // 4)
        if not isinstance(called, Macro):
            args = _looked_at(called, args, kwargs)
        result = super().call(context, called, *args, **kwargs)
        allowance.made(result)
        return result

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, _OwnList) and attr in _CHANGES:
            return True
        is_known = isinstance(obj, _WITH_ATTRIBUTES) and attr not in _NEVER
        return is_known and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Jinja's own way to make `format` safe; what it returns doesn't know its text any more."""
        safe = super().wrap_str_format(value)
        if safe is None:
            return None

        def bounded_format(*args: Any, **kwargs: Any) -> str:
            text = str(value.__self__)
            refuse_nested_fields(text)
            ours().make(by_format(text, (*args, *kwargs.values())), "format")
            return safe(*args, **kwargs)

        return bounded_format

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _check_operator(operator, left, right)
        result = super().call_binop(context, operator, left, right)
        ours().made(result)
        return result

    # ── called by what tree.py writes into a template, and by Jinja ───────────

    @staticmethod
    def round(n_steps: int) -> bool:
        """In each round of a loop, and of a macro's or block's work."""
        ours().step(n_steps)
        return True

    @staticmethod
    def joined(*parts: Any) -> str:
        ours().make(sum(map(written_length, parts)), "~")
        return "".join(map(str, parts))

    compared = staticmethod(looked_into)
    keyed = staticmethod(keyed)

    @staticmethod
    def kept(value: Any) -> Any:
        """A list, or a part of one or of a text."""
        ours().made(value)
        return _OwnList(value) if isinstance(value, list) else value

    @staticmethod
    def written(value: Any) -> Any:
        """An expression between braces."""
        ours().make(written_length(value), "{{ }}")
        return value

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Of the whole text, a block's, a macro's."""
        kept, length = [], 0
        for part in parts:
            length += len(part)
            if length > MAX_LENGTH:
                break
            kept.append(part)
        ours().make(length, "text")
        return "".join(kept)


_OURS = frozenset(
    id(getattr(BoundedEnvironment, name))
    for name in ("round", "joined", "compared", "keyed", "kept")
)


def _looked_at(called: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """`args`, as they may be given to what is no macro."""
    if called is Namespace:  # keeps what it is told by name, as it is
        return tuple(map(_mapping, args))
    allowance, name = ours(), getattr(called, "__name__", "")
    text, arguments = getattr(called, "__self__", None), (*args, *kwargs.values())
    if isinstance(text, Mapping) and name == "get" and args:
        keyed(args[0])
        return args
    for one in arguments:
        looked_into(one)
    if name == "strftime":
        allowance.make(by_strftime(arguments), name)
    if isinstance(text, str):
        if name == "join":
            args = arguments = tuple(as_list(one) for one in args)
        allowance.make(by_method(text, name, arguments), name)
        allowance.look(looked_at(text, name, arguments))
    if isinstance(text, list | tuple) and name in ("index", "count"):
        looked_into(text)
    if isinstance(text, _OwnList) and name in _CHANGES:
        allowance.make(ELEMENT, name)
        allowance.look(ELEMENT * len(text) if name == "pop" else 0)  # the others move up
    return args


def _mapping(given: Any = (), /, **named: Any) -> dict[str, Any]:
    """Jinja's `dict`, whose keys are looked at."""
    items = given.items() if isinstance(given, Mapping) else each(given)
    return {keyed(key): value for key, value in items} | named


def _check_operator(operator: str, left: Any, right: Any) -> None:
    match operator, left, right:
        case ("*", (str() | list() | tuple()) as many, int(n)) | (
            "*",
            int(n),
            (str() | list() | tuple()) as many,
        ):
            ours().make(len(many) * n, "*")
        case "+", (str() | list() | tuple()), (str() | list() | tuple()):
            ours().make(len(left) + len(right), "+")
        case "%", str(), _:
            values = right if isinstance(right, tuple) else (right,)
            ours().make(by_format(left, values), "%")
        case "*", int(), int():
            ours().number(left.bit_length() + right.bit_length(), "*")
        case "**", int(), int():
            ours().number(left.bit_length() * right, "**")


def environment() -> BoundedEnvironment:
    made = BoundedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[loopcontrols, Generation],
        finalize=BoundedEnvironment.written,
    )
    made.filters |= {"tojson": _tojson, "unique": unique}
    made.filters = {
        name: bounded_filter(name, one)
        for name, one in made.filters.items()
        if name not in _NO_FILTERS
    }
    made.tests |= {
        name: bounded_test(name, one)
        for name, one in made.tests.items()
        if name not in UNBOUNDED_TESTS
    }
    made.globals |= {"raise_exception": _raise_exception, "dict": _mapping}
    del made.globals["lipsum"]
    return made


def _raise_exception(message: object) -> NoReturn:
    raise jinja2.TemplateError(str(message))


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own escapes <, > and & for HTML, and sorts keys: models never saw that."""
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    if indent is None:
        return encoder.encode(value)
    return BoundedEnvironment.concat(encoder.iterencode(value))  # deep values: indents of indents
