"""The command line as a user has it: real processes, in a home of their own."""

import contextlib
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx2
import pytest

from edgellm import resources

_T = TypeVar("_T")
EDGELLM = (sys.executable, "-m", "edgellm")
SHARED_MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"
DEMO_PATH = resources.demo_model()
PATIENCE_S = 60.0  # for what comes at once, unless something is wrong: the machine may be slow

needs_shared_models = pytest.mark.skipif(
    not SHARED_MODELS.is_dir(), reason="no folder shared/models beside the repository"
)


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@dataclass
class Live:
    """A server in a process of its own, ready."""

    process: "subprocess.Popen[str]"
    url: str
    out: str  # up to the line that can be pasted
    err: list[str] = field(default_factory=list)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE_S)

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(self.url + path, trust_env=False, timeout=PATIENCE_S)


class Home:
    """Its own runtime folder, model cache and configuration; nothing of the real user's."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("EDGELLM_", "HF_", "MODEL_", "MODELSCOPE_", "XDG_"))
        }
        self.env = kept | {
            "HOME": str(folder),  # where other tools keep their models
            "OLLAMA_MODELS": str(folder / "ollama"),
            "LLAMA_CACHE": str(folder / "llama.cpp"),
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(cache),  # shared: the memory's bandwidth is measured once
            "HF_HOME": str(folder / "hf"),
            "HF_ENDPOINT": "http://127.0.0.1:1",  # nobody: no test leaves this machine
            "MODELSCOPE_ENDPOINT": "http://127.0.0.1:1",
            "EDGELLM_PORT": "0",  # whoever serves at 8484 meanwhile is nobody of ours
            "COLUMNS": "100",
            "NO_PROXY": "*",
        }

    def run(self, *args: str, typed: str = "", timeout: float = 120, **env: str) -> Result:
        done = subprocess.run(
            (*EDGELLM, *args),
            input=typed,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.env | env,
            cwd=self.folder,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def serving(self, *args: str, **env: str) -> Iterator[Live]:
        """Until the block ends. `args` are the command's: ("serve", "demo", "--port", "0")."""
        process = subprocess.Popen(
            (*EDGELLM, *args),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.env | env,
            cwd=self.folder,
        )
        said: list[str] = []
        assert process.stderr
        listening = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)
        listening.start()
        try:
            yield _ready(process, said)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(timeout=PATIENCE_S)
            listening.join(timeout=5)
            assert process.stdout
            process.stdout.close()
            process.stderr.close()


def _ready(process: "subprocess.Popen[str]", said: list[str]) -> Live:
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("curl "):
            break
    else:
        pytest.fail(f"it ended with {process.wait()}: {''.join(said)}")
    found = re.search(r"at (\S+)", "".join(lines))
    assert found
    return Live(process, found[1], "".join(lines), said)


def wait_for(condition: Callable[[], _T], seconds: float = PATIENCE_S) -> _T:
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{condition} did not come true within {seconds} s")


def typer_s() -> float:
    """What the program's own framework takes of this machine's processor to be imported."""
    return processor_s(
        lambda: subprocess.run((sys.executable, "-c", "import typer"), check=True, timeout=120)
    )


def processor_s(run: Callable[[], object]) -> float:
    """Of the processor, by the process that `run` starts and waits for. The best of five: what it
    waits for on a busy machine isn't counted, and what others do to its caches hardly."""
    took_s = []
    for _ in range(5):
        before_s = _processor_s_of_children()
        run()
        took_s.append(_processor_s_of_children() - before_s)
    return min(took_s)


def _processor_s_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Terminal:
    """A program on a pseudo-terminal of 100 × 30; `text` is all that it wrote."""

    def __init__(
        self, home: Home, *args: str, program: tuple[str, ...] = EDGELLM, **env: str
    ) -> None:
        self._master, slave = pty.openpty()
        self.text = ""
        self.process = subprocess.Popen(
            (*program, *args),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=home.env | {"TERM": "xterm-256color", "LINES": "30"} | env,
            cwd=home.folder,
            start_new_session=True,
        )
        os.close(slave)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # Linux's way to say that the other side closed
            while data := os.read(self._master, 1 << 16):
                self.text += data.decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def until(self, words: str, seconds: float = PATIENCE_S) -> None:
        wait_for(lambda: words in self.text or self.process.poll() is not None, seconds)
        assert words in self.text, self.text[-2000:]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)
