from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer
from typer.testing import CliRunner

from edgellm.cli.flags.coercion import QuickCommand
from edgellm.cli.flags.pins import Pins
from edgellm.cli.flags.signature import spread


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


@dataclass(frozen=True, kw_only=True)
class Frame:
    HEADINGS: ClassVar = {"wood": "The frame", "glass": "In front of it"}

    wood: Annotated[str, typer.Option("--wood", metavar="KIND", help="Of what.")] = "oak"
    gold: Annotated[bool, typer.Option("--gold", help="With gold.")] = False
    glass: Annotated[int, typer.Option("--glass", metavar="MM", min=1, help="How thick.")] = 2


def test_shared_options_stand_under_their_headings_behind_the_commands_own():
    def hang(
        what: Annotated[list[str], typer.Argument(metavar="WHAT", help="A picture.")],
        frame: Frame,
        high: Annotated[bool, typer.Option("--high", help="Near the ceiling.")] = False,
    ) -> None:
        print(what, frame.glass, frame.gold, high)

    told = ask(hang, "--help-all").stdout.partition("Arguments:")[2]

    assert " ".join(told.split()) == (
        "WHAT A picture. Options: --high Near the ceiling. "
        "--help-all Show all options and exit. --help Show this message and exit. "
        "The frame: --wood KIND Of what. [default: oak] --gold With gold. "
        "In front of it: --glass MM How thick. [default: 2; x>=1]"
    )
    told = ask(hang, "--help").stdout
    assert "--help-all  " not in told
    told = told.partition("More options;")[2]
    assert " ".join(told.split()) == (
        "--help-all tells what each does: The frame --wood, --gold In front of it --glass"
    )
    assert ask(hang, "a", "b", "--glass", "3", "--gold").stdout == "['a', 'b'] 3 True False\n"


def test_headings_of_one_command_are_none_of_another():
    def plain(wood: Annotated[str, typer.Option("--wood", help="Of what.")] = "oak") -> None: ...

    assert "The frame" not in ask(plain, "--help").stdout
    assert "--help-all" not in ask(plain, "--help").stdout


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
