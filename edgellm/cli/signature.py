"""A parameter whose type is a dataclass stands for the dataclass's fields, each one an option.

    def plan(model: ModelArgument, pins: Pins, as_json: AsJSON = False) -> None: ...

`plan --help` lists every field of Pins, and `plan` gets them as one value; `serve` writes the same
word and means the same flags. typer reads a command by its signature, so that is what changes.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter, Signature, signature
from typing import Any


def spread(command: Callable[..., None]) -> Callable[..., None]:
    parameters = signature(command).parameters.values()
    groups: dict[str, Any] = {
        one.name: one.annotation for one in parameters if is_dataclass(one.annotation)
    }
    if not groups:
        return command

    @functools.wraps(command)
    def gathered(**given: Any) -> None:
        values = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **values)

    flat = [one for parameter in parameters for one in _options(parameter)]
    gathered.__signature__ = Signature(flat)  # type: ignore[attr-defined]
    return gathered


def _options(parameter: Parameter) -> Iterator[Parameter]:
    """By keyword only: then one without a default may stand behind one that has it."""
    if not is_dataclass(parameter.annotation):
        yield parameter.replace(kind=Parameter.KEYWORD_ONLY)
        return
    for field in fields(parameter.annotation):
        default = Parameter.empty if field.default is MISSING else field.default
        yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=field.type)
