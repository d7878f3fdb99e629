"""The command line: a table of commands. Only `main` exits; commands return or raise.

`edgellm --help` must answer in a quarter of a second, so the commands import what they need when
they are called, and typer's rich mode is off (it alone costs 0.3 s). Each is imported when it is
asked for (cli/lazy_commands.py); where it takes a dataclass, `spread` makes its fields options.
"""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, cast

import typer

import edgellm
from edgellm.cli.flags.coercion import QuickGroup
from edgellm.cli.lazy_commands import LazyCommands
from edgellm.cli.output import say, say_error
from edgellm.cli.streams import mend_streams, silence_stdout
from edgellm.errors import EdgellmError, StorageError

_EPILOG = """\b
Exit codes:
  0 done                 5 does not fit         11 address in use
  1 a bug: tell us (*)   7 overloaded           12 no server
  2 bad input            8 model process died   13 deadline passed
  3 no such model        9 network              78 configuration
  4 a file is broken    10 disk or permission  130 interrupted
  (*) of `doctor`: it found a problem

\b
Begin with:  edgellm up
Tab completes commands, models and values:  edgellm --install-completion
"""

# What a place refuses, whatever program asks: no fault of ours.
_REFUSALS = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EBADF, errno.EIO,
}  # fmt: skip

# In the order of a first acquaintance; --help keeps it.
_COMMANDS = {
    "up": "up",
    "serve": "serve",
    "run": "run",
    "launch": "launch",
    "pull": "models.pull",
    "list": "models.list_models",
    "show": "models.show",
    "rm": "models.rm",
    "export": "bundles.export",
    "import": "bundles.import_bundle",
    "verify": "verify",
    "mirror": "mirror",
    "ps": "ps",
    "stop": "ps.stop",
    "probe": "probe",
    "plan": "plan",
    "recommend": "recommend",
    "top": "top",
    "record": "record",
    "bench": "bench",
    "tune": "tune",
    "cost": "cost",
    "usage": "usage",
    "doctor": "doctor",
}


class _Edgellm(QuickGroup):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = cast(Any, LazyCommands(_COMMANDS, hidden={"ls": "models.list_models"}))

    def get_params(self, ctx: Any) -> list[Any]:
        """Completion is told in a line of its own, at the end."""
        params = super().get_params(ctx)
        for one in params:
            if one.name in ("install_completion", "show_completion"):
                cast(Any, one).hidden = True
        return params


app = typer.Typer(
    name="edgellm",
    cls=_Edgellm,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A local LLM server: probe this machine, choose a model, serve it, watch it.",
    epilog=_EPILOG,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"edgellm {edgellm.__version__}")
        raise typer.Exit


@app.callback(no_args_is_help=True)
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


def _tell_unknown_variables() -> None:
    """Once, whatever the command; who has set none of them need not import the settings."""
    if "_EDGELLM_COMPLETE" in os.environ or not any(map(_is_ours, os.environ)):
        return
    from edgellm.config import unknown_variables

    for name, near in unknown_variables(os.environ):
        advice = f"; did you mean {near}?" if near else ""
        say(f"{name} is no setting of edgellm and is passed over{advice}")


def _is_ours(variable: str) -> bool:
    return variable.startswith("EDGELLM_")


def main(argv: Sequence[str] | None = None) -> None:
    """Always ends by SystemExit. `argv`: the words after the program's name."""
    mend_streams()
    _tell_unknown_variables()
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["help"]:  # as git and cargo have it
        words = [*words[1:], "--help"]
    telling(lambda: app(args=words, prog_name="edgellm"))


def telling(command: Callable[[], object]) -> None:
    """Runs it; what goes wrong is told, and ends by SystemExit."""
    try:
        try:
            command()
        finally:
            sys.stdout.flush()  # while it can still be told that it can't be written
    except EdgellmError as error:
        say_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # who reads no more has read enough
        silence_stdout()
    except Exception as error:  # noqa: BLE001 - a bug: who meets it reads a sentence, we the rest
        if isinstance(error, OSError) and error.errno in _REFUSALS:
            say(f"edgellm: {_refused(error)}")
            silence_stdout()
            sys.exit(StorageError.exit_code)
        say(f"edgellm: this is a bug: {type(error).__name__}: {error}")
        say(f"  → tell us, with {_where_it_arose(error)}")
        sys.exit(EdgellmError.exit_code)


def _refused(error: OSError) -> str:
    """Without a file it is what was being written: stdout, nearly always."""
    return f"{error.filename or 'the output'} can't be written: {error.strerror}"


def _where_it_arose(error: Exception) -> str:
    """A file that tells all of it; where none can be written, the line."""
    import secrets
    import tempfile
    import traceback
    from pathlib import Path

    from edgellm.files import write_whole

    told = "".join(traceback.format_exception(error)).encode(errors="backslashreplace")
    try:
        path = Path(tempfile.gettempdir()) / f"edgellm-bug-{secrets.token_hex(4)}.txt"
        write_whole(path, told)
    except OSError:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"the line where it arose: {last.filename}:{last.lineno}"
    return f"what is in {path}"
