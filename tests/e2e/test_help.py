"""Help, versions, completion: there at once, and complete."""

import re
import subprocess
import sys

import pytest
from cli_runs import processor_s, typer_s
from typer.main import get_command
from typer.testing import CliRunner

from edgellm.cli.main import app

COMMANDS = (
    "up", "serve", "run", "launch", "pull", "list", "show", "rm", "export", "import", "verify",
    "mirror", "ps", "stop", "probe", "plan", "recommend", "top", "record", "bench", "tune", "cost",
    "usage", "doctor",
)  # fmt: skip
HEAVY = (
    "huggingface_hub", "httpx2", "textual", "starlette", "uvicorn", "jinja2", "msgspec", "numpy",
    "psutil", "rich", "asyncio", "edgellm.selector", "edgellm.models", "edgellm.probe",
)  # fmt: skip


def test_help_names_every_command_and_every_exit_code(home):
    done = home.run("--help")

    assert done.code == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", done.out, re.MULTILINE), command
    for code in (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 78, 130):
        assert re.search(rf"\b{code} +[a-z]", done.out), code


def test_every_exit_code_that_an_error_has_is_in_the_help(home):
    from edgellm import errors

    told = home.run("--help").out
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.EdgellmError)
    }

    assert all(re.search(rf"\b{code} +[a-z]", told) for code in codes)


def test_help_imports_nothing_heavy(home):
    program = (
        "import sys\n"
        "sys.argv = ['edgellm', '--help']\n"
        "from edgellm.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True)

    assert done.stderr.split() == []
    assert "Usage: edgellm" in done.stdout


@pytest.mark.slow
def test_help_takes_less_than_three_times_what_its_framework_alone_takes(home):
    """A tenth of a second here, and with something heavy in it a quarter."""
    assert processor_s(lambda: home.run("--help")) < 3 * typer_s()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_teaches_by_examples(command):
    """In this process: fourteen more would cost seconds."""
    told = CliRunner().invoke(app, [command, "--help"]).output

    assert f"edgellm {command}" in told.partition("Options:")[0].partition("\n")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_fits_two_screens_and_names_every_flag(command):
    at_80 = {"COLUMNS": "80"}
    told = CliRunner().invoke(app, [command, "--help"], env=at_80).output
    params = get_command(app).commands[command].params
    flags = {name for one in params for name in one.opts if name.startswith("--")}

    assert len(told.splitlines()) <= 40
    assert max(map(len, told.splitlines())) <= 80
    assert {name for name in flags if name not in told} == set()


def test_a_model_that_up_takes_only_to_refuse_it_is_not_offered():
    usage = CliRunner().invoke(app, ["up", "--help"]).output.splitlines()[0]

    assert usage == "Usage: edgellm up [OPTIONS]"


def test_version(home):
    assert re.fullmatch(r"edgellm \d+\.\d+\.\d+\n", home.run("--version").out)


def test_help_may_be_asked_for_as_a_command(home):
    assert home.run("help").out == home.run("--help").out
    assert home.run("help", "serve").out == home.run("serve", "--help").out


def test_no_arguments_show_the_help(home):
    assert "Usage: edgellm" in home.run().out + home.run().err


def test_shell_completion_knows_the_commands(home):
    done = home.run(_EDGELLM_COMPLETE="complete_bash", COMP_WORDS="edgellm p", COMP_CWORD="1")

    assert done.out.split() == ["pull", "ps", "probe", "plan"]
