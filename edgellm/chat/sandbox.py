"""Where a stranger's template runs: Jinja's immutable sandbox, with a bound on its work.

A rendering takes steps (rounds of a loop, calls); too many end it. What `*`, `**` and `+` make
is bounded, too. Not bounded is what else can make much of little: `center`, `replace`, format
widths, a block that doubles itself. Import this module late: jinja2 comes with it.
"""

import json
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

import jinja2  # noqa: TID253 - whoever renders imports this module, and nobody before
from jinja2 import nodes  # noqa: TID253
from jinja2.ext import Extension, loopcontrols  # noqa: TID253
from jinja2.runtime import Context  # noqa: TID253
from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: TID253
from jinja2.visitor import NodeTransformer  # noqa: TID253

MAX_STEPS = 500_000  # 4096 messages take some ten thousand
MAX_LENGTH = 64 << 20  # of what an operator makes; a request's body is smaller
_MAX_BITS = 4096  # of a number that an operator makes

_steps: ContextVar[int] = ContextVar("steps", default=0)


class Generation(Extension):
    """`{% generation %}` marks what to train on; here its body is just text."""

    tags = {"generation"}  # noqa: RUF012  # jinja2 declares it as an instance's

    def parse(self, parser: jinja2.parser.Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "+"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        counted: nodes.Template = _CountedLoops().visit(template)
        return counted

    def call(self, context: Context, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        _steps.set(_steps.get() + 1)
        if _steps.get() > MAX_STEPS:
            raise jinja2.TemplateError(f"it takes more than {MAX_STEPS} steps")
        return super().call(context, called, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if _is_too_much(operator, left, right):
            raise jinja2.TemplateError(f"its `{operator}` makes too much")
        return super().call_binop(context, operator, left, right)

    @staticmethod
    def round() -> bool:
        """Called in each round of a loop, and so counted as a step."""
        return True


class _CountedLoops(NodeTransformer):
    def visit_For(self, loop: nodes.For) -> nodes.For:  # noqa: N802 - jinja2 looks for this name
        self.generic_visit(loop)
        counted = nodes.Call(nodes.EnvironmentAttribute("round"), [], [], None, None)
        loop.body.insert(0, nodes.ExprStmt(counted, lineno=loop.lineno))
        if loop.test:  # it is asked in rounds that the body never sees
            loop.test = nodes.And(counted, loop.test)
        return loop


def _is_too_much(operator: str, left: Any, right: Any) -> bool:
    match operator, left, right:
        case "+", Sized(), Sized():
            return len(left) + len(right) > MAX_LENGTH
        case ("*", Sized() as many, int(n)) | ("*", int(n), Sized() as many):
            return len(many) * n > MAX_LENGTH
        case "*", int(), int():
            return left.bit_length() + right.bit_length() > _MAX_BITS
        case "**", int(), int():
            return left.bit_length() * right > _MAX_BITS
        case _:
            return False


@contextmanager
def bounded() -> Iterator[None]:
    """One rendering: its steps count from zero."""
    before = _steps.set(0)
    try:
        yield
    finally:
        _steps.reset(before)


def environment() -> BoundedEnvironment:
    made = BoundedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    made.filters["tojson"] = _tojson
    made.globals["raise_exception"] = _raise_exception
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
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
