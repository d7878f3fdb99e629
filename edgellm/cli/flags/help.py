"""How a command's help is laid out: its own options first, then those that it shares, by heading.

typer has headings in its rich mode only, which we go without; and it tells a Python type for
every argument and the range of every number, where the metavar and the sentence say enough.

What is shared is told in full by --help-all. Of forty flags nobody reads the first that he needs:
--help gives a line of their names for each heading.
"""

import re
import textwrap
from typing import Any

from typer._click.decorators import option
from typer._coercion import bool_flag_type_descriptor

_OWN = "Options"
_WHOLE = "edgellm.help_all"
_HELP_ALL = "--help-all"
_TABLES = 'For one model: tables [models."NAME"] of config.toml (docs/configuration.md).'
_PLANNED = "A draft model"  # a heading of the commands that heed them
_MORE = f"More options; {_HELP_ALL} tells what each does"
_ONE_SIDED = re.compile(r"  \[x[<>]=-?\d+\]$")
_REQUIRED = "  [required]"  # as the line of usage says


def add_help_all(command: Any) -> None:
    """To a command that has options under headings."""
    if any(_heading(parameter) != _OWN for parameter in command.params):
        option(
            [_HELP_ALL],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            help="Show all options and exit.",
            callback=_show_all,
            required=False,
            type_descriptor=bool_flag_type_descriptor(),
        )(command)


def write_options(parameters: list[Any], context: Any, formatter: Any) -> None:
    arguments: list[tuple[str, str]] = []
    options: dict[str, list[tuple[str, str]]] = {_OWN: []}
    names: dict[str, list[str]] = {}
    for parameter in parameters:
        record = parameter.get_help_record(context)
        if record is None:
            continue  # hidden
        name, text = record
        if parameter.param_type_name == "argument":
            arguments.append((name.partition(" ")[0], text.removesuffix(_REQUIRED)))
        else:
            heading = _heading(parameter)
            options.setdefault(heading, []).append((name, _ONE_SIDED.sub("", text)))
            names.setdefault(heading, []).append(_long_name(parameter))
    own = options.pop(_OWN)
    is_whole = context.meta.get(_WHOLE) or not options
    if not is_whole:
        own = [row for row in own if row[0] != _HELP_ALL]  # the last heading names it
    for heading, rows in (("Arguments", arguments), (_OWN, own), *options.items()):
        if rows and (is_whole or heading not in options):
            with formatter.section(heading):
                formatter.write_dl(rows)
    if is_whole and _PLANNED in options:
        formatter.write_paragraph()
        formatter.write_text(_TABLES)
    if not is_whole:
        with formatter.section(_MORE):
            _write_names({heading: names[heading] for heading in options}, formatter)


def _write_names(names: dict[str, list[str]], formatter: Any) -> None:
    """A flag's name is not broken at its hyphens, as typer's formatter would."""
    n_margin = formatter.current_indent
    n_heading = max(map(len, names)) + 2
    n_room = max(20, formatter.width - n_margin - n_heading)
    for heading, flags in names.items():
        lines = textwrap.wrap(
            ", ".join(flags), n_room, break_on_hyphens=False, break_long_words=False
        )
        for first, line in zip([heading, *[""] * len(lines)], lines, strict=False):
            formatter.write(f"{'':{n_margin}}{first:{n_heading}}{line}\n")


def _heading(parameter: Any) -> str:
    return getattr(parameter, "rich_help_panel", None) or _OWN


def _long_name(parameter: Any) -> str:
    """ "--ctx-size" of "-c, --ctx-size"."""
    flags: list[str] = parameter.opts
    return next((flag for flag in flags if flag.startswith("--")), flags[0])


def _show_all(context: Any, _: Any, is_wanted: bool) -> None:
    if is_wanted and not context.resilient_parsing:
        context.meta[_WHOLE] = True
        print(context.get_help())
        context.exit()
