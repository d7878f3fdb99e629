"""Where a stranger's template runs: Jinja's immutable sandbox, with bounds on work and memory.

allowance.py counts steps and characters, growth.py knows what makes much of little. Here both are
put where Jinja does things: calls, operators, filters, tests, what is written out, and, because
Jinja asks nobody about `~`, comparisons, slices, lists and rounds of a loop, into the template's
own tree. Nothing that a template is given can it change, only lists that it has made itself.
Import this module late: jinja2 comes with it.
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
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
from jinja2.visitor import NodeTransformer  # noqa: TID253

from edgellm.chat.templating.allowance import ELEMENT, MAX_LENGTH, Allowance, written_length
from edgellm.chat.templating.growth import (
    by_filter,
    by_format,
    by_method,
    by_strftime,
    looked_at,
    refuse_nested_fields,
)

# What a template may ask for attributes, and so for methods. Numbers' (`to_bytes`) and bytes' are
# in no table of growth.py, so nobody gets there, nor to `encode`, which makes bytes.
_WITH_ATTRIBUTES = (
    str, list, tuple, Mapping, Namespace, LoopContext, Macro, BlockReference, TemplateReference,
    Cycler, Joiner, jinja2.Undefined,
)  # fmt: skip

# Tests that look at all that is in a value.
_COMPARING = (
    "==", "eq", "equalto", "!=", "ne", "<", "lt", "lessthan", "<=", "le", ">", "gt", "greaterthan",
    ">=", "ge", "in",
)  # fmt: skip
_LOOKING = frozenset({"index", "count"})  # methods of a list that compare what is in it
_CHANGES = frozenset({"append", "pop"})  # of a template's own list; Kimi K2's keeps a queue

_allowance: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


class _OwnList(list[Any]):
    """A list that the template wrote, or a part of one that it cut off."""


def _ours() -> Allowance:
    """The rendering's. Jinja computes constants when it compiles: then one for each."""
    return _allowance.get() or Allowance()


class Generation(Extension):
    """`{% generation %}` marks what to train on; here its body is just text."""

    tags = {"generation"}  # noqa: RUF012  # jinja2 declares it as an instance's

    def parse(self, parser: jinja2.parser.Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        counted: nodes.Template = _Counted().visit(template)
        return counted

    def call(self, context: Context, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        if any(called is one for one in _OURS):
            return called(*args)
        text, name = getattr(called, "__self__", None), getattr(called, "__name__", "")
        _ours().step()
        if name == "strftime":
            _ours().make(by_strftime((*args, *kwargs.values())), name)
        if isinstance(text, str):
            _ours().look(looked_at(text, name, (*args, *kwargs.values())))
            if name == "join":
                args = tuple(_as_list(one) for one in args)
            _ours().make(by_method(text, name, (*args, *kwargs.values())), name)
        if isinstance(text, list | tuple) and name in _LOOKING:
            for value in (text, *args):  # neither takes a name for what it looks for
                self.compared(value)
        if isinstance(text, _OwnList) and name in _CHANGES:
            _ours().make(ELEMENT, name)
            _ours().look(ELEMENT * len(text) if name == "pop" else 0)  # the others move up
        result = super().call(context, called, *args, **kwargs)
        _ours().made(result)
        return result

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, _OwnList) and attr in _CHANGES:
            return True
        is_known = isinstance(obj, _WITH_ATTRIBUTES) and attr != "encode"
        return is_known and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Jinja's own way to make `format` safe; what it returns doesn't know its text any more."""
        safe = super().wrap_str_format(value)
        if safe is None:
            return None

        def bounded_format(*args: Any, **kwargs: Any) -> str:
            text = str(value.__self__)
            refuse_nested_fields(text)
            _ours().make(by_format(text, (*args, *kwargs.values())), "format")
            return safe(*args, **kwargs)

        return bounded_format

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _check_operator(operator, left, right)
        result = super().call_binop(context, operator, left, right)
        _ours().made(result)
        return result

    # ── called by what _Counted writes into the tree, and by Jinja ────────────

    @staticmethod
    def round() -> bool:
        """In each round of a loop."""
        _ours().step()
        return True

    @staticmethod
    def joined(*parts: Any) -> str:
        _ours().make(sum(map(written_length, parts)), "~")
        return "".join(map(str, parts))

    @staticmethod
    def compared(value: Any) -> Any:
        if isinstance(value, str | list | tuple | Mapping):
            _ours().look(written_length(value))
        return value

    @staticmethod
    def kept(value: Any) -> Any:
        """A list, or a part of one or of a text."""
        _ours().made(value)
        return _OwnList(value) if isinstance(value, list) else value

    @staticmethod
    def written(value: Any) -> Any:
        """An expression between braces."""
        _ours().make(written_length(value), "{{ }}")
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
        _ours().make(length, "text")
        return "".join(kept)


_OURS = [
    BoundedEnvironment.round, BoundedEnvironment.joined, BoundedEnvironment.compared,
    BoundedEnvironment.kept,
]  # fmt: skip


class _Counted(NodeTransformer):
    def visit_For(self, loop: nodes.For) -> nodes.For:  # noqa: N802 - jinja2 looks for this name
        self.generic_visit(loop)
        counted = _call("round")
        loop.body.insert(0, nodes.ExprStmt(counted, lineno=loop.lineno))
        if loop.test:  # it is asked in rounds that the body never sees
            loop.test = nodes.And(counted, loop.test)
        return loop

    def visit_Concat(self, concat: nodes.Concat) -> nodes.Call:  # noqa: N802
        self.generic_visit(concat)
        return _call("joined", *concat.nodes)

    def visit_Compare(self, compare: nodes.Compare) -> nodes.Compare:  # noqa: N802
        self.generic_visit(compare)
        compare.expr = _compared(compare.expr)
        for operand in compare.ops:
            assert isinstance(operand, nodes.Operand)
            operand.expr = _compared(operand.expr)
        return compare

    def visit_Getitem(self, item: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        self.generic_visit(item)
        is_part = isinstance(item.arg, nodes.Slice) and item.ctx == "load"
        return _call("kept", item) if is_part else item

    def visit_List(self, several: nodes.List) -> nodes.Call:  # noqa: N802
        self.generic_visit(several)
        return _call("kept", several)

    def visit_Dict(self, several: nodes.Dict) -> nodes.Call:  # noqa: N802
        self.generic_visit(several)
        return _call("kept", several)

    def visit_Tuple(self, several: nodes.Tuple) -> nodes.Expr:  # noqa: N802
        self.generic_visit(several)
        return _call("kept", several) if several.ctx == "load" else several


def _compared(side: nodes.Expr) -> nodes.Expr:
    return side if isinstance(side, nodes.Const) else _call("compared", side)


def _call(name: str, *arguments: nodes.Expr) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), [*arguments], [], None, None)


def _check_operator(operator: str, left: Any, right: Any) -> None:
    match operator, left, right:
        case ("*", (str() | list() | tuple()) as many, int(n)) | (
            "*",
            int(n),
            (str() | list() | tuple()) as many,
        ):
            _ours().make(len(many) * n, "*")
        case "+", (str() | list() | tuple()), (str() | list() | tuple()):
            _ours().make(len(left) + len(right), "+")
        case "%", str(), _:
            values = right if isinstance(right, tuple) else (right,)
            _ours().make(by_format(left, values), "%")
        case "*", int(), int():
            _ours().number(left.bit_length() + right.bit_length(), "*")
        case "**", int(), int():
            _ours().number(left.bit_length() * right, "**")


def _as_list(value: Any) -> Any:
    """What has a length."""
    return value if hasattr(value, "__len__") else [*value]


def _bounded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    at = 1 if hasattr(function, "jinja_pass_arg") else 0  # the environment comes before the value

    @functools.wraps(function)
    def bounded_one(*args: Any, **kwargs: Any) -> Any:
        value, others = args[at], args[at + 1 :]
        if name in ("join", "sum"):
            value = _as_list(value)
        _ours().look(len(value) if isinstance(value, str) else 0)
        _ours().make(by_filter(name, value, (*others, *kwargs.values())), name)
        result = function(*args[:at], value, *others, **kwargs)
        _ours().made(result)
        return result

    return bounded_one


def _bounded_test(test: Any) -> Callable[..., Any]:
    return lambda *sides: test(*map(BoundedEnvironment.compared, sides))


@contextmanager
def bounded() -> Iterator[None]:
    """One rendering, with an allowance of its own."""
    before = _allowance.set(Allowance())
    try:
        yield
    finally:
        _allowance.reset(before)


def environment() -> BoundedEnvironment:
    made = BoundedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[loopcontrols, Generation],
        finalize=BoundedEnvironment.written,
    )
    made.filters["tojson"] = _tojson
    made.filters = {name: _bounded_filter(name, one) for name, one in made.filters.items()}
    made.tests |= {name: _bounded_test(made.tests[name]) for name in _COMPARING}
    made.globals["raise_exception"] = _raise_exception
    del made.globals["lipsum"], made.filters["pprint"]  # it takes minutes for what is deep
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
