"""A parameter whose type is a dataclass stands for the dataclass's fields, each one an option.

    def plan(model: ModelArgument, pins: Pins, as_json: AsJSON = False) -> None: ...

`plan --help` lists every field of Pins, and `plan` gets them as one value; `serve` writes the same
word and means the same flags. typer reads a command by its signature, so that is what changes.

Where the dataclass has HEADINGS, a heading of the help by the name of the first field under it,
its fields stand apart from the command's own options; cli/flags/help.py writes them.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, get_args


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
    headings: Mapping[str, str] = getattr(parameter.annotation, "HEADINGS", {})
    heading = None
    for field in fields(parameter.annotation):
        heading = headings.get(field.name, heading)
        default = Parameter.empty if field.default is MISSING else field.default
        kind = _under(heading, field.type) if heading else field.type
        yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _under(heading: str, annotation: Any) -> Any:
    """What typer calls a panel."""
    kind, option = get_args(annotation)
    option = copy.copy(option)
    option.rich_help_panel = heading
    return Annotated[kind, option]
