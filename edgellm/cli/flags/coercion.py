"""Words of the command line to values, without typer's own way, which is pydantic.

Importing pydantic and building an adapter for each option costs a quarter of a second: as much as
all the rest of a short command. typer keeps the converter of a parameter in a field that it fills
when it is first asked; we fill it before. Kinds that no command of ours has are left to typer.
"""

import math
import os
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import typer
from typer._click.exceptions import NoSuchOption, UsageError
from typer.core import TyperCommand, TyperGroup

from edgellm.cli.flags.help import add_help_all, write_options
from edgellm.values import frozen

_KINDS = (str, int, float, bool, Path)
HANDED_ON = "-- ARGS"  # the metavar of an argument that is another program's words


class QuickCommand(TyperCommand):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        add_help_all(self)

    def get_params(self, ctx: Any) -> list[Any]:
        return _made_quick(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = tuple(args)  # of which the parser leaves nothing
        try:
            return super().parse_args(ctx, args)
        except NoSuchOption as error:
            if not any(one.metavar == HANDED_ON for one in self.params):
                raise
            with_value = {flag for one in self.params if _has_value(one) for flag in one.opts}
            own = f"{ctx.command_path} {behind_dashes(words, error.option_name, with_value)}"
            words_told = f"{error.format_message()}\n  → the program's own stands behind --: {own}"
            raise UsageError(words_told, ctx) from error

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Without typer's braces around what must be said: they read like a choice; and without
        an argument that is hidden, and has no name."""
        pieces = super().collect_usage_pieces(ctx)
        return [piece.replace("{", "").replace("}", "") for piece in pieces if piece != "[]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        write_options(self.get_params(ctx), ctx, formatter)


def _has_value(param: Any) -> bool:
    return param.param_type_name == "option" and not param.is_flag


def behind_dashes(words: Sequence[str], option: str, with_value: Collection[str]) -> str:
    """The same for a shell, with a `--` before the option, which no flag of ours is. `with_value`:
    those of ours whose next word is theirs, and no APP."""
    at = next((i for i, word in enumerate(words) if word.startswith(option)), 0)
    pairs = zip(("", *words), words[:at], strict=False)
    has_app = any(not word.startswith("-") and last not in with_value for last, word in pairs)
    before = words[:at] if has_app else ("APP", *words[:at])
    after = [word for word in words[at:] if word != "--"]
    return " ".join((*map(shlex.quote, before), "--", *map(shlex.quote, after)))


class QuickGroup(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _made_quick(super().get_params(ctx))

    def _main_shell_completion(self, *args: Any, **kwargs: Any) -> None:
        """Called by `main`, always; typer returns from it where no shell is asking."""
        if f"_{self.name}_COMPLETE".upper() in os.environ:
            from edgellm.cli.flags import bash_words

            bash_words.mend()
        super()._main_shell_completion(*args, **kwargs)


@frozen
class Coercion:
    kind: type
    least: float | None = None
    most: float | None = None

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """What typer's `RuntimeParam.coerce` gives. Raises typer.BadParameter."""
        try:
            if param.multiple or param.nargs == -1:
                return tuple(self._one(word) for word in value or ())
            return None if value is None else self._one(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from error

    def _one(self, word: Any) -> Any:
        """Raises ValueError, with a sentence."""
        if isinstance(word, self.kind):
            return word
        if self.kind not in (int, float):
            return self.kind(word)
        try:
            number = self.kind(word)
        except ValueError:
            raise ValueError(_no_number(word, self.kind)) from None
        if not math.isfinite(number):
            raise ValueError(f"{word!r} is no number to count with")
        if self.least is not None and number < self.least:
            raise ValueError(f"{word} is less than {self.least:g}")
        if self.most is not None and number > self.most:
            raise ValueError(f"{word} is more than {self.most:.12g}")
        return number


def _no_number(word: str, kind: type) -> str:
    if kind is not int:
        return f"{word!r} is no number"
    digits = word[:-1]
    written = f"; write {int(digits) * 1024}" if word[-1:] in "kK" and digits.isdecimal() else ""
    return f"{word!r} is no whole number{written}"


def _made_quick(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        descriptor = parameter.type_descriptor
        annotation = descriptor.annotation
        if get_origin(annotation) is list:
            (annotation,) = get_args(annotation)
        info = descriptor.parameter_info
        if annotation in _KINDS and info.parser is None:
            parameter._runtime_param = Coercion(annotation, info.min, info.max)
    return parameters
