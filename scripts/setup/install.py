"""Install edgellm into .venv, with the llama.cpp that suits this machine.

    .venv/bin/python -m scripts.setup.install run|dev

scripts/run and scripts/test start it, from the repository's root. It needs nothing but Python's
standard library, until edgellm's dependencies are installed.

    EDGELLM_WHEEL_INDEX   a base URL in place of upstream's wheel index; "none": always compile
    CMAKE_ARGS            your own switches for llama.cpp: always compile, with them

Where scripts/pack has laid wheels/ beside it, all comes from there, and no network is asked.
"""

import importlib
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from edgellm.probe.sources import SystemSources
from scripts.setup import packed
from scripts.setup.engine import Engine
from scripts.setup.machine import Machine, look
from scripts.setup.packed import Pack
from scripts.setup.progress import Painter, Watch, run
from scripts.setup.wheels import TITLES, Kind, index_base, kinds

ROOT = Path(__file__).parents[2]
LOG = ROOT / ".venv" / "setup.log"
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
AGAIN = "rm -rf .venv && scripts/run"


def main(purpose: str) -> int:
    sources, painter = SystemSources(), Painter()
    machine = look(sources)
    LOG.write_text("")
    painter.say(f"setting up: {machine.accelerator or 'no GPU'}, {machine.architecture}")
    try:
        pack = packed.read(ROOT)
        if pack:
            accept(pack, machine, purpose, painter)
    except ValueError as error:
        painter.say(_box("this pack can't be installed here", str(error).splitlines()))
        return 1
    engine = Engine(
        ROOT, machine, sources, painter, LOG, index_base(os.environ.get("EDGELLM_WHEEL_INDEX")),
        os.environ.get("CMAKE_ARGS", ""), pack,
    )  # fmt: skip
    refused: list[str] = []
    for kind, way in _ways(engine):
        if problem := way(kind):
            if way == engine.present:
                continue  # it is the usual case that nothing is there yet
        elif not install_project(purpose, painter):
            painter.say(f"edgellm: the installation failed; the whole log: {LOG}")
            return 1
        elif not (problem := _check(kind, engine, refused)):
            return 0
        if (line := f"{_whom(kind)} {problem}") not in refused:
            painter.say(f"  {line}")
            refused.append(line)
    painter.say(_box("edgellm can't be set up here", refused))
    return 1


def accept(pack: Pack, machine: Machine, purpose: str, painter: Painter) -> None:
    """From here on pip and uv know the pack alone. Raises ValueError when it is for another machine
    or use, or damaged: nothing was installed then."""
    if problem := pack.target.misfit(machine, THIS_PYTHON):
        raise ValueError(f"{problem}\npack for it where there is a network: scripts/pack --help")
    if purpose == "dev" and not pack.for_tests:
        raise ValueError("what scripts/test needs was not packed: scripts/pack --dev")
    painter.say(f"{packed.FOLDER}/ was packed for it: checking its sums, then no network is asked")
    if problem := packed.damaged(pack.folder.parent):
        raise ValueError(problem)
    os.environ.update(pack.settings())
    if not (has_pip() or run(pack.install_pip, Watch("installing pip"), LOG, painter, os.environ)):
        raise ValueError(f"its pip can't be installed, see {LOG}")


def has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None


def _ways(engine: Engine) -> Iterator[tuple[Kind, Callable[[Kind], str | None]]]:
    """The best backend first; of each what is there, then a wheel, then a compilation: a kept one
    before a new one. Of a pack, what was packed."""
    pack = engine.pack
    for kind in kinds(engine.machine):
        yield kind, engine.present
        yield kind, engine.packed if pack else engine.wheel
        if pack and not pack.has_source:
            continue
        yield kind, engine.compile
        if engine.was_ready_made:  # by now it was tried, and is of no use
            yield kind, engine.recompile


def install_project(purpose: str, painter: Painter) -> bool:
    """Editable, and by uv where it is: it takes seconds where pip takes a minute."""
    what = ".[dev]" if purpose == "dev" else "."
    by_pip = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "-e", what)
    uv = shutil.which("uv")
    painter.say(f"edgellm: installing it with what it needs, by {'uv' if uv else 'pip'}")
    env = dict(os.environ)
    if uv:
        by_uv = (uv, "pip", "install", "--python", sys.executable, "-e", what)
        if run(by_uv, Watch("installing edgellm"), LOG, painter, env):
            return True
        painter.say("  uv failed (it does not read pip's settings); trying pip")
    return run(by_pip, Watch("installing edgellm"), LOG, painter, env)


def _check(kind: Kind, engine: Engine, refused: list[str]) -> str | None:
    """Decode on each device. Returns why this build is of no use here, if it is not."""
    importlib.invalidate_caches()
    from scripts.setup import check  # its imports have just been installed

    say = engine.painter.say
    say("checking: a few tokens on each device")
    report = check.examine(engine.sources)
    if report.problem:
        return report.problem
    for line in report.lines:
        say(f"  {line}")
    if told := shortfall(kind, engine.machine.accelerator, refused, report.warnings):
        say(told)
    return None


def shortfall(
    kind: Kind, accelerator: str | None, refused: list[str], warnings: tuple[str, ...]
) -> str | None:
    """What this machine has and this build does not use, and the way to it."""
    if kind == "cpu" and accelerator:
        title = f"{accelerator} is NOT used: this llama.cpp is built for the CPU only"
        why = [line for line in refused if not line.startswith(_whom("cpu"))]
        return _box(title, [*why, *warnings, f"then: {AGAIN}"])
    if warnings:
        return _box("not every card is used", [*warnings, f"then: {AGAIN}"])
    return None


def _whom(kind: Kind) -> str:
    """What a refusal begins with."""
    return f"for {TITLES[kind]}:"


def _box(title: str, lines: list[str]) -> str:
    """Open to the right: commands must be copied whole, not wrapped."""
    rule = "─" * 72
    return "\n".join((f"┌{rule}", f"│ {title}", *(f"│   {line}" for line in lines), f"└{rule}"))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
