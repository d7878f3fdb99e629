"""The command line: a table of commands. Only `main` exits; commands return or raise.

`edgellm --help` must answer in a quarter of a second, so the commands import what they need when
they are called, and typer's rich mode is off (it alone costs 0.3 s).
"""

import os
import sys
from typing import Annotated

import typer

import edgellm
from edgellm.cli.serve import serve
from edgellm.errors import EdgellmError

_INTERRUPTED = 130  # 128 + SIGINT, as shells say it

app = typer.Typer(
    name="edgellm",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn this machine into a local LLM server: probe it, choose a model, serve it, watch it.",
    epilog="Exit codes: 0 done, 1 a bug, 2 bad input, 3 no such model, 4 bad GGUF, 5 does not fit, "
    "6 probe, 7 overloaded, 8 model process died, 9 network, 10 storage, 11 address in use, "
    "12 no server, 78 configuration, 130 interrupted.",
)

for _command in (serve,):
    app.command()(_command)


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"edgellm {edgellm.__version__}")
        raise typer.Exit


def main() -> None:
    try:
        app(standalone_mode=True)
    except EdgellmError as error:
        print(f"edgellm: {error}", file=sys.stderr)
        if error.hint:
            print(f"  → {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:  # `edgellm list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
