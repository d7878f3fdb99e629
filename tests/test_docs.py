"""What the documents name is there: files, modules, routes, commands and their flags."""

import re
import shlex
import tomllib

import pytest
import typer
from shown import DOCUMENTS, README, README_ZH, ROOT, blocks, commands, without_remark

from edgellm.cli.main import app
from edgellm.config import Config, load_config
from edgellm.server.app import create_app
from edgellm.server.served import Models

FOLDERS = ("edgellm", "scripts", "tests")
FILE = re.compile(r"(?<![\w/.*-])(?:[\w-]+/)*[\w-]+\.py\b")
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`|^ {4}(.+)$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^(?:sudo -E |[A-Z_]+=\S+ )*edgellm ([a-z]+)(?= |$)(.*)$", re.MULTILINE)
COMMANDS = typer.main.get_command(app).commands
LINK = re.compile(r"\]\(([^)#\s]+)(?:#([\w-]+))?\)")
VARIABLE = re.compile(r"\bEDGELLM_[A-Z_]+\b")
BEFORE_SETTINGS = {"EDGELLM_API_KEY", "EDGELLM_CONFIG"}  # one of the keys; where settings are
OF_THE_SCRIPTS = {"EDGELLM_WHEEL_INDEX"}  # scripts/run --help tells of it


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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_command_of_a_block_is_understood(document):
    """Its numbers, choices and arguments, too: all of it but doing it."""
    for _, language, text in blocks(document):
        for command in commands(text) if language == "bash" else ():
            words = shlex.split(command, comments=True)
            if words[0] == "edgellm":
                COMMANDS[words[1]].make_context(words[1], words[2:])


def test_a_command_that_would_be_refused_is_not_understood():
    with pytest.raises(typer.BadParameter):
        COMMANDS["serve"].make_context("serve", ["demo", "--port", "high"])


@pytest.mark.parametrize(("document", "section"), [(README, "## Commands"), (README_ZH, "## 命令")])
def test_the_readme_names_every_command_and_none_else(document, section):
    text = document.read_text().partition(f"{section}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ((?:`[^`]+` ?)+)\| (.*) \|$", text, re.MULTILINE)
    named = [[one.split()[0] for one in re.findall(r"`([^`]+)`", row[0])] for row in rows]
    assert {name for row in named for name in row} == {
        name for name, one in COMMANDS.items() if not one.hidden
    }
    for ours, (_, told) in zip(named, rows, strict=True):
        known = set().union(*(flags(COMMANDS[name]) for name in ours))
        assert set(re.findall(r"(?<=`)--[a-z-]+", told)) <= known


def test_both_readmes_say_to_type_the_same_and_lead_to_one_another():
    """So what the English one's test types is what the Chinese one shows."""
    typed = [
        [
            [*map(without_remark, commands(text))] if language == "bash" else text
            for _, language, text in blocks(document)
            if language in ("bash", "python")
        ]
        for document in (README, README_ZH)
    ]
    assert len(typed[0]) >= 5
    assert typed[0] == typed[1]
    assert f"]({README_ZH.name})" in README.read_text()
    assert f"]({README.name})" in README_ZH.read_text()


def test_both_readmes_say_the_same_of_each_peer():
    """And have the same figures, row by row."""
    marks = [
        [re.findall(r"[●◐○–]|\b\d\.\d\d\b", row) for row in document.read_text().splitlines()]
        for document in (README, README_ZH)
    ]
    told, in_chinese = ([one for one in rows if len(one) > 1] for rows in marks)
    assert len(told) > 20
    assert told == in_chinese


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_link_leads_somewhere(document):
    for target, heading in LINK.findall(document.read_text()):
        if not target.startswith("https://"):
            path = document.parent / target
            assert path.exists(), target
            assert not heading or heading in anchors(path.read_text()), f"{target}#{heading}"


def anchors(text):
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


def test_every_document_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    files = {path.name for path in (ROOT / "docs").iterdir() if path.is_file()} - {"README.md"}
    assert {target for target, _ in LINK.findall(index)} - {"../README.md"} == files


def test_every_page_of_the_benchmarks_is_led_to_from_their_first():
    first = ROOT / "docs" / "benchmarks.md"
    pages = {f"benchmarks/{path.name}" for path in (ROOT / "docs" / "benchmarks").iterdir()}
    assert pages <= {target for target, _ in LINK.findall(first.read_text())}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_variable_is_a_setting(document):
    settings = {f"EDGELLM_{name.upper()}" for name in Config.__struct_fields__}
    named = {name for name in VARIABLE.findall(document.read_text()) if not name.endswith("_")}
    assert named <= settings | BEFORE_SETTINGS | OF_THE_SCRIPTS


def test_every_configuration_that_is_shown_can_be_loaded(tmp_path):
    configurations = [
        text for document in DOCUMENTS for _, kind, text in blocks(document) if kind == "toml"
    ]
    assert len(configurations) >= 2
    path = tmp_path / "config.toml"
    for text in configurations:
        path.write_text(text)
        load_config({"EDGELLM_CONFIG": str(path)}, {})


def test_the_data_sheets_that_are_told_of_are_there():
    told = re.search(r"Data sheets of (\d+) devices", (ROOT / "docs" / "hardware.md").read_text())
    assert int(told[1]) == len(
        tomllib.loads((ROOT / "profiles/devices.toml").read_text())["device"]
    )


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


@pytest.mark.parametrize("outer", ["cli", "meter", "probe", "runner", "selector", "server"])
def test_every_inner_room_says_what_its_modules_are(outer):
    for room in (ROOT / "edgellm" / outer).glob("*/__init__.py"):
        modules = {path.stem for path in room.parent.glob("[!_]*.py")}
        assert {one for one in modules if f"`{one}`" not in room.read_text()} == set(), room.parent


def test_every_setting_is_told_with_its_flag():
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert [name for name in Config.__struct_fields__ if f"`{name}`" not in text] == []
    rows = re.findall(r"^\| `\w+`.*?\|.*?\| `(--[a-z-]+)` \|", text, re.MULTILINE)
    assert len(rows) > 5
    assert set(rows) <= flags(COMMANDS["serve"]) | flags(COMMANDS["run"])


def test_every_route_is_told():
    text = "".join(path.read_text() for path in DOCUMENTS)
    routes = create_app(Models()).routes
    paths = {route.path.partition("/{")[0].removeprefix("/v1") for route in routes} - {"/"}
    assert {path for path in paths if f"{path}`" not in text} == set()
