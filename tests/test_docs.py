"""What the documents name is there: files, modules, routes, commands and their flags."""

import re
from pathlib import Path

import pytest
import typer

from edgellm.cli.main import app
from edgellm.config import Config
from edgellm.server.app import create_app
from edgellm.server.served import Models

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FOLDERS = ("edgellm", "scripts", "tests")
FILE = re.compile(r"(?<![\w/.*-])(?:[\w-]+/)*[\w-]+\.py\b")
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`|^ {4}(.+)$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^(?:sudo -E )?edgellm ([a-z]+)(?= |$)(.*)$", re.MULTILINE)
COMMANDS = typer.main.get_command(app).commands


def names():
    """Every way to name a file: "cells.py" as well as "runner/kv/cells.py"."""
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).parts
            yield from ("/".join(parts[i:]) for i in range(len(parts)))


def shown(text):
    """The commands in blocks and between back-ticks, each with its flags."""
    for code in CODE.finditer(text):
        for command, rest in COMMAND.findall(next(filter(None, code.groups()))):
            words = re.split(r"[#|]", rest)[0].split()
            yield command, {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}


def flags(command):
    return {"--help", *(name for one in command.params for name in one.opts + one.secondary_opts)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_file_that_is_named_is_there(document):
    assert sorted(set(FILE.findall(document.read_text())) - set(names())) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_command_that_is_shown_takes_its_flags(document):
    for command, given in shown(document.read_text()):
        assert command in COMMANDS
        assert given <= flags(COMMANDS[command]), f"edgellm {command}"


def test_commands_are_found_however_they_are_shown():
    text = (
        "edgellm is.\n`edgellm plan M --on=X`\n\n    edgellm list\n```\nedgellm rm -c 9 # -d\n```"
    )
    assert [*shown(text)] == [("plan", {"--on"}), ("list", set()), ("rm", {"-c"})]


def test_the_map_names_every_module_of_the_runner():
    text = (ROOT / "docs" / "architecture.md").read_text()
    runner = ROOT / "edgellm" / "runner"
    modules = {path.name for path in runner.glob("[!_]*.py")}
    rooms = {f"{path.parent.name}/" for path in runner.glob("*/__init__.py")}
    assert {one for one in modules | rooms if f"`{one}`" not in text} == set()


@pytest.mark.parametrize("outer", ["runner", "server"])
def test_every_inner_room_says_what_its_modules_are(outer):
    for room in (ROOT / "edgellm" / outer).glob("*/__init__.py"):
        modules = {path.stem for path in room.parent.glob("[!_]*.py")}
        assert {one for one in modules if f"`{one}`" not in room.read_text()} == set(), room.parent


def test_every_setting_is_told_with_its_flag():
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert [name for name in Config.__struct_fields__ if f"`{name}`" not in text] == []
    rows = re.findall(r"^\| `\w+`.*?\|.*?\| `(--[a-z-]+)` \|", text, re.MULTILINE)
    assert len(rows) > 5
    assert set(rows) <= flags(COMMANDS["serve"])


def test_every_route_is_told():
    text = "".join(path.read_text() for path in DOCUMENTS)
    routes = create_app(Models()).routes
    paths = {route.path.partition("/{")[0].removeprefix("/v1") for route in routes} - {"/"}
    assert {path for path in paths if f"{path}`" not in text} == set()
