"""How a command's help is laid out: its own options first, then those that it shares, by heading.

typer has headings in its rich mode only, which we go without; and it tells a Python type for
every argument and the range of every number, where the metavar and the sentence say enough.
"""

import re
from typing import Any

_OWN = "Options"
_ONE_SIDED = re.compile(r"  \[x[<>]=-?\d+\]$")


def write_options(parameters: list[Any], context: Any, formatter: Any) -> None:
    arguments: list[tuple[str, str]] = []
    options: dict[str, list[tuple[str, str]]] = {_OWN: []}
    for parameter in parameters:
        record = parameter.get_help_record(context)
        if record is None:
            continue  # hidden
        name, text = record
        if parameter.param_type_name == "argument":
            arguments.append((name.partition(" ")[0], text))
        else:
            heading = getattr(parameter, "rich_help_panel", None) or _OWN
            options.setdefault(heading, []).append((name, _ONE_SIDED.sub("", text)))
    for heading, rows in (("Arguments", arguments), *options.items()):
        if rows:
            with formatter.section(heading):
                formatter.write_dl(rows)
