"""Commands that are imported and made when they are asked for.

A call runs one of twenty commands. To import the others and to read their signatures took a tenth
of a short command's time; only `--help` and a shell that completes ask for all.
"""

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from typer.main import get_command_from_info
from typer.models import CommandInfo

from edgellm.cli.flags.coercion import QuickCommand
from edgellm.cli.flags.signature import spread
from edgellm.cli.streams import silence_stdout


class LazyCommands(Mapping[str, Any]):
    """By name; typer's groups take it for a dict. `places`: "module.function" below cli/commands/,
    the module alone where both have one name."""

    def __init__(self, places: Mapping[str, str], hidden: Mapping[str, str]) -> None:
        self._places, self._hidden = {**places, **hidden}, hidden
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._command(name, self._places[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        """Without the hidden ones: nobody is told "did you mean 'list', 'ls'?"."""
        return (name for name in self._places if name not in self._hidden)

    def __len__(self) -> int:
        return len(self._places) - len(self._hidden)

    def _command(self, name: str, place: str) -> Any:
        module, _, function = place.partition(".")
        written = getattr(import_module(f"edgellm.cli.commands.{module}"), function or module)
        info = CommandInfo(
            name,
            cls=QuickCommand,
            callback=_into_pipes(spread(written)),
            hidden=name in self._hidden,
        )
        return get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=None)


def _into_pipes(command: Callable[..., None]) -> Callable[..., None]:
    """`edgellm list | head` is no error: who reads no more has read enough."""

    @functools.wraps(command)
    def quiet(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            silence_stdout()

    return quiet
