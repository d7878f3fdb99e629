"""A command is imported when it is asked for, and by its own name."""

import subprocess
import sys

import pytest
from typer.main import get_command

from edgellm.cli.lazy_commands import LazyCommands
from edgellm.cli.main import app


def test_a_call_imports_the_module_of_its_own_command_only():
    program = (
        "import sys\n"
        "from edgellm.cli.main import main\n"
        "try:\n    main(['plan', '--help'])\nexcept SystemExit:\n    pass\n"
        "rooms = [m for m in sys.modules if m.startswith('edgellm.cli.commands.')]\n"
        "print(rooms, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stderr.strip() == "['edgellm.cli.commands.plan']"


def test_every_name_has_a_command_that_bears_it():
    commands = get_command(app).commands
    assert [command.name for command in commands.values()] == list(commands)
    assert len(commands) == len(list(commands)) == 24
    assert "ls" in commands


def test_a_second_name_of_a_command_is_not_listed():
    commands = LazyCommands({"list": "models.list_models"}, hidden={"ls": "models.list_models"})
    assert not commands["list"].hidden
    assert commands["ls"].hidden
    assert commands["ls"] is commands["ls"]


def test_what_there_is_not_is_none():
    commands = LazyCommands({"plan": "plan"}, hidden={})
    assert commands.get("plam") is None
    with pytest.raises(KeyError):
        commands["plam"]
