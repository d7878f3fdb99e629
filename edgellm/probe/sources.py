"""The border to the machine: the programs that the probe runs and the files that it reads.

It has two implementations: this machine, and a captured one that is replayed from a folder. A
source that fails gives a `NoAnswer`, never an exception: it costs its own fields only.

A captured machine (`scripts/capture_probe.py` writes one):

    DIR/system              "Linux" or "Darwin"; Linux when there is no such file
    DIR/files/proc/meminfo  each file at its path; a link is kept as a link
    DIR/commands/NAME.out   what a program wrote to stdout; `capture_name` tells the NAME
    DIR/commands/NAME.err   to stderr, when it wrote any
    DIR/commands/NAME.code  how it ended, when not with 0
"""

import contextlib
import errno
import glob
import os
import platform
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal, Protocol

from edgellm.probe.asked.asking import ask
from edgellm.values import frozen

_MAX_BYTES = 4 << 20  # a source that writes more than this is broken
_READ_BYTES = 1 << 16  # /proc/sys refuses to be asked for megabytes at once


@frozen
class Output:
    text: str
    errors: str = ""
    code: int = 0


@frozen
class NoAnswer:
    """Why a source gave no answer. "absent" is normal: most machines lack most sources."""

    kind: Literal["absent", "denied", "timeout", "broken"]
    message: str


class Sources(Protocol):
    system: str  # as platform.system() says it

    def run(self, argv: tuple[str, ...], timeout_s: float) -> Output | NoAnswer: ...
    def read_text(self, path: str) -> str | NoAnswer: ...
    def read_bytes(self, path: str) -> bytes | NoAnswer: ...
    def list(self, pattern: str) -> tuple[str, ...]:
        """The paths that match, sorted; patterns are those of the shell."""
        ...

    def real_path(self, path: str) -> str:
        """Where the links lead; the path itself when there are none."""
        ...


def child(module: str) -> tuple[str, ...]:
    """The command of one of our own child programs. -P: no module of the current folder."""
    return (sys.executable, "-P", "-m", module)


def capture_name(argv: tuple[str, ...]) -> str:
    """What a command is called in a captured machine: "nvml_child", "npu-smi info -m"."""
    if argv[0] == sys.executable and "-m" in argv:
        return argv[argv.index("-m") + 1].rpartition(".")[2]
    return " ".join((Path(argv[0]).name, *argv[1:])).replace("/", "_")


class ForwardingSources:
    """Base of a Sources that wraps another: files are passed on, `run` is the subclass's."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.system = sources.system

    def read_text(self, path: str) -> str | NoAnswer:
        return self._sources.read_text(path)

    def read_bytes(self, path: str) -> bytes | NoAnswer:
        return self._sources.read_bytes(path)

    def list(self, pattern: str) -> tuple[str, ...]:
        return self._sources.list(pattern)

    def real_path(self, path: str) -> str:
        return self._sources.real_path(path)


class _Files:
    """Files below a root, under the paths that the machine itself would use."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def read_text(self, path: str) -> str | NoAnswer:
        data = self.read_bytes(path)
        return data if isinstance(data, NoAnswer) else data.decode("utf-8", "replace")

    def read_bytes(self, path: str) -> bytes | NoAnswer:
        try:
            with self._below(path).open("rb", buffering=0) as file:
                data = b""
                while len(data) < _MAX_BYTES and (more := file.read(_READ_BYTES)):
                    data += more
        except OSError as error:
            return _no_answer_from(error)
        return data

    def list(self, pattern: str) -> tuple[str, ...]:
        found = glob.glob(pattern.lstrip("/"), root_dir=self._root)  # noqa: PTH207 - relative
        return tuple(sorted("/" + path for path in found))

    def real_path(self, path: str) -> str:
        real = self._below(path).resolve()
        return "/" + real.relative_to(self._root).as_posix() if real != self._root else "/"

    def _below(self, path: str) -> Path:
        return self._root / path.lstrip("/")


class SystemSources(_Files):
    """This machine. `root`: where its files are, as for a container that has the host's at /host;
    programs run here in any case."""

    def __init__(self, root: Path = Path("/")) -> None:
        super().__init__(root)
        self.system = platform.system()

    def run(self, argv: tuple[str, ...], timeout_s: float) -> Output | NoAnswer:
        if shutil.which(argv[0], os.F_OK) is None:  # a dozen tools, and most machines have none
            return NoAnswer("absent", os.strerror(errno.ENOENT))  # without a fork for each
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"},  # a tool's words, not their translation
                start_new_session=True,  # so that its children die with it
            )
        except OSError as error:
            return _no_answer_from(error)
        name = capture_name(argv).partition(" ")[0]
        try:
            text, errors = _collect(process, timeout_s)
            code = process.wait(timeout=1.0)
        except (TimeoutError, subprocess.TimeoutExpired):
            return NoAnswer("timeout", f"{name} gave no answer within {timeout_s:g} s")
        except OverflowError:
            return NoAnswer("broken", f"{name} wrote more than {_MAX_BYTES >> 20} MiB")
        finally:
            end(process)
        return Output(text, errors, code)


class SysrootSources(_Files):
    """A captured machine. What was not captured is absent."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "files")
        self._commands = directory / "commands"
        told = directory / "system"
        self.system = told.read_text().strip() if told.exists() else "Linux"

    def run(self, argv: tuple[str, ...], timeout_s: float) -> Output | NoAnswer:
        name = capture_name(argv)
        stdout = self._commands / f"{name}.out"
        if not stdout.exists():
            return NoAnswer("absent", f"{name} was not captured")
        stderr, code = stdout.with_suffix(".err"), stdout.with_suffix(".code")
        return Output(
            stdout.read_text(errors="replace"),
            stderr.read_text(errors="replace") if stderr.exists() else "",
            int(code.read_text()) if code.exists() else 0,
        )


def _collect(process: "subprocess.Popen[bytes]", timeout_s: float) -> tuple[str, str]:
    """Both pipes until they close. Raises TimeoutError, and OverflowError on a flood."""
    pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe]
    written = {pipe.fileno(): bytearray() for pipe in pipes}
    stop_s = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as ready:
        for fd in written:
            ready.register(fd, selectors.EVENT_READ)
        while ready.get_map():
            events = ready.select(max(0.0, stop_s - time.monotonic()))
            if not events or time.monotonic() > stop_s:
                raise TimeoutError
            for key, _ in events:
                data = os.read(key.fd, 1 << 16)
                written[key.fd] += data
                if not data:
                    ready.unregister(key.fd)
                elif len(written[key.fd]) > _MAX_BYTES:
                    raise OverflowError
    out, err = (bytes(data).decode("utf-8", "replace") for data in written.values())
    return re.sub(r"\x1b\[[0-9;]*m", "", out), err


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kills it with all that it started. One that is stuck in the kernel is left to a thread of its
    own, which reaps it when it ends at last."""
    if process.poll() is None:
        with contextlib.suppress(OSError, TimeoutError):
            os.killpg(process.pid, signal.SIGKILL)
            ask(process.wait, "edgellm-reaper").result(timeout=0.5)
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()


def _no_answer_from(error: OSError) -> NoAnswer:
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NoAnswer("absent", reason)
    if isinstance(error, PermissionError):
        return NoAnswer("denied", reason)
    return NoAnswer("broken", reason)
