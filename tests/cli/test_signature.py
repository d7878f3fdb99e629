from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from edgellm.cli.coercion import QuickCommand
from edgellm.cli.pins import Pins
from edgellm.cli.signature import spread


@dataclass(frozen=True, kw_only=True)
class Size:
    width: Annotated[int, typer.Option("--width", "-w", help="How wide.")] = 3
    names: Annotated[list[str] | None, typer.Option("--name")] = None


def ask(command, *args):
    """What the command was called with, or what typer said against it."""
    app = typer.Typer(rich_markup_mode=None)
    app.command("it", cls=QuickCommand)(spread(command))
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, ["it", *args])


def paint(
    what: Annotated[str, typer.Argument()],
    size: Size,
    twice: Annotated[bool, typer.Option("--twice")] = False,
) -> None:
    print(what, size.width, size.names, twice)


def test_the_fields_are_options_and_arrive_as_one_value():
    assert ask(paint, "wall", "-w", "5", "--name", "a", "--name", "b", "--twice").stdout == (
        "wall 5 ['a', 'b'] True\n"
    )


def test_what_is_not_said_has_the_dataclass_default():
    assert ask(paint, "wall").stdout == "wall 3 None False\n"


def test_help_lists_the_fields():
    told = ask(paint, "--help").stdout

    assert "-w, --width" in told
    assert "How wide." in told
    assert "--size" not in told


def test_two_commands_with_the_same_dataclass_have_the_same_flags():
    def plan(pins: Pins) -> None:
        print(pins.goal().n_gpu_layers)

    def serve(pins: Pins, port: Annotated[int, typer.Option()] = 1) -> None:
        print(pins.goal().n_gpu_layers, port)

    assert ask(plan, "-ngl", "-1").stdout == "-1\n"
    assert ask(serve, "-ngl", "7", "--port", "2").stdout == "7 2\n"


def test_a_command_without_a_dataclass_stays_as_it_is():
    def bare(word: Annotated[str, typer.Option()] = "a") -> None: ...

    assert spread(bare) is bare
