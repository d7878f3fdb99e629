"""The machine that a plan is for: this one, a board or devices that were described, a capture."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from edgellm.cli.flags import completing
from edgellm.errors import BadRequest, StorageError
from edgellm.values import frozen

if TYPE_CHECKING:
    from edgellm.probe.hardware import Hardware
    from edgellm.probe.sources import Sources

ALL_BOARDS = "all"  # as a board's name: every one that is described


def _boards_offered(incomplete: str) -> list[str]:
    return [*completing.boards(incomplete), *completing.words(ALL_BOARDS)(incomplete)]


Sysroot = Annotated[
    Path | None,
    typer.Option(
        help="A captured machine instead of this one (scripts/capture_probe.py makes one).",
        metavar="DIR",
    ),
]


@frozen(kw_only=True)
class Described:
    HEADINGS: ClassVar = {"on": "Another machine"}

    on: Annotated[
        list[str] | None,
        typer.Option(
            help="A described machine instead of this one: rpi5, rtx4090 …",
            metavar="BOARD",
            autocompletion=_boards_offered,
        ),
    ] = None
    device: Annotated[
        list[str] | None,
        typer.Option(
            help='An accelerator of a described machine: "RTX 4090" or cuda:24GiB@1008 '
            "(kind:memory@GB/s); repeatable.",
            metavar="DEVICE",
            autocompletion=completing.devices,
        ),
    ] = None
    ram: Annotated[
        str | None,
        typer.Option(help="The memory beside --device: 64GiB@60 (@GB/s).", metavar="SIZE"),
    ] = None
    sysroot: Sysroot = None

    @property
    def is_here(self) -> bool:
        return not (self.on or self.device or self.ram or self.sysroot)

    @property
    def words(self) -> str:
        """As flags, to be put behind a command: " --on rtx4090"; for this machine nothing."""
        given = [("--on", one) for one in self.on or ()]
        given += [("--device", one) for one in self.device or ()]
        given += [("--ram", self.ram)] if self.ram else []
        given += [("--sysroot", str(self.sysroot))] if self.sysroot else []
        return "".join(f" {flag} {shlex.quote(value)}" for flag, value in given)

    def hardware(self) -> "Hardware":
        """Raises BadRequest, ModelNotFound for an unknown board, StorageError."""
        self.check_one_machine()
        if self.on:
            from edgellm.probe.known.boards import hardware_from_board

            (board,) = self.on
            return hardware_from_board(board)
        if self.device or self.ram:
            from edgellm.probe.known.described import hardware_from_devices

            return hardware_from_devices(tuple(self.device or ()), self.ram)
        if self.sysroot:
            from edgellm.probe.detect import detect

            return detect(sources(self.sysroot))
        from edgellm.cli.preparing import machine

        return machine.recall()

    def check_one_machine(self) -> None:
        """Raises BadRequest."""
        self.check()
        if self.on and ALL_BOARDS in self.on:
            raise BadRequest(
                "--on all names every described board, and a plan is for one machine",
                hint="to see which boards hold so many users: "
                "edgellm plan MODEL --users 50 --on all",
            )
        if self.on and len(self.on) > 1:
            raise BadRequest(
                f"--on names {len(self.on)} boards, a plan is for one",
                hint="several are for sizing: --users 50",
            )

    def check(self) -> None:
        """One way to describe, whatever it describes. Raises BadRequest."""
        ways = {
            "--on": self.on,
            "--device": self.device,
            "--ram": self.ram if not self.device else None,
            "--sysroot": self.sysroot,
        }
        named = [flag for flag, value in ways.items() if value]
        if len(named) > 1:
            raise BadRequest(
                f"{' and '.join(named)} describe {len(named)} machines", hint="give one of them"
            )


def sources(sysroot: Path | None) -> "Sources":
    """Where the probe looks. Raises StorageError for a folder that is no captured machine."""
    from edgellm.probe.asked.hangs import this_machine
    from edgellm.probe.sources import SysrootSources

    if sysroot is None:
        return this_machine()
    if not any((sysroot / folder).is_dir() for folder in ("files", "commands")):
        raise StorageError(
            f"{sysroot} is no captured machine: it has no folder files/ and no commands/",
            hint="scripts/capture_probe.py DIR makes one",
        )
    return SysrootSources(sysroot)
