import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from edgellm.cli.flags.coercion import Coercion, QuickCommand
from edgellm.cli.main import app


def answer(*args):
    made = typer.Typer(rich_markup_mode=None)

    @made.command("it", cls=QuickCommand)
    def it(
        rest: Annotated[list[str] | None, typer.Argument()] = None,
        n: Annotated[int | None, typer.Option("-n", min=-1, max=9)] = None,
        x: Annotated[float, typer.Option("-x", min=0)] = 0.5,
        path: Annotated[Path | None, typer.Option("-p")] = None,
        on: Annotated[bool | None, typer.Option("--on/--off")] = None,
    ) -> None:
        print(rest, n, x, path, on)

    made.command("other")(lambda: None)
    done = CliRunner().invoke(made, ["it", *args])
    return done.exit_code, done.stdout or done.stderr


@pytest.mark.parametrize(
    ("args", "values"),
    [
        ((), "None None 0.5 None None"),
        (("a", "b"), "['a', 'b'] None 0.5 None None"),
        (("-n", "-1", "-x", "1e3"), "None -1 1000.0 None None"),
        (("-p", "a/b", "--on"), "None None 0.5 a/b True"),
        (("--off",), "None None 0.5 None False"),
    ],
)
def test_words_become_the_values_that_they_name(args, values):
    assert answer(*args) == (0, values + "\n")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("-n", "3.5"), "'-n': '3.5' is no whole number"),
        (("-n", "32k"), "'-n': '32k' is no whole number; write 32768"),
        (("-n", "k"), "'-n': 'k' is no whole number"),
        (("-n", ""), "'-n': '' is no whole number"),
        (("-n", "10"), "'-n': 10 is more than 9"),
        (("-n", "-2"), "'-n': -2 is less than -1"),
        (("-x", "fast"), "'-x': 'fast' is no number"),
        (("-x", "nan"), "'-x': 'nan' is no number to count with"),
        (("-x", "inf"), "'-x': 'inf' is no number to count with"),
        (("-x", "-1"), "'-x': -1 is less than 0"),
    ],
)
def test_what_is_no_value_is_bad_input_and_says_why(args, words):
    code, told = answer(*args)

    assert code == 2
    assert words in told


def test_every_parameter_of_every_command_is_quick():
    """Else one command would be a quarter of a second slower, and nobody would see why."""
    group = get_command(app)
    slow = [
        f"{name} {parameter.name}"
        for name, command in group.commands.items()
        for parameter in command.get_params(typer.Context(command))
        if not isinstance(parameter._runtime_param, Coercion)
    ]

    assert slow == []


def test_a_command_runs_without_pydantic():
    program = (
        "import sys\n"
        "sys.argv = ['edgellm', 'plan', 'demo', '--on', 'rtx4090', '--json']\n"
        "from edgellm.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('pydantic' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True)

    assert done.stderr == "False\n"


def test_what_must_be_said_has_no_braces_in_the_usage():
    usage = CliRunner().invoke(app, ["run", "--help"]).stdout.splitlines()

    assert "Usage: edgellm run [OPTIONS] MODEL [PROMPT]..." in usage
