"""Starting a worker's process, and reading how one ended."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgellm.errors import BadGGUF, ConfigError, DoesNotFit, EdgellmError, WorkerDied
from edgellm.probe.sources import child
from edgellm.runner.loadlog import says_out_of_memory

if TYPE_CHECKING:
    from asyncio import Protocol, Task
    from asyncio.subprocess import Process

DEATH_S = 10.0  # that a killed process may take to end
_SMALLER = "try a smaller --ctx or a smaller quantization"
_WATCHERS = "the kernel didn't, a program that watches over memory may have"
_WORDLESS = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}

# GGML_NO_BACKTRACE: ggml's abort starts gdb where that is installed, and hangs for minutes.
_ENVIRONMENT = {"GGML_NO_BACKTRACE": "1", "PYTHONUNBUFFERED": "1"}
_TUNABLES = "GLIBC_TUNABLES"
_HUGE_PAGES = "glibc.malloc.hugetlb"


async def start_worker(frames: "Protocol") -> "Process":
    """`frames` gets what comes from its stdout.

    It has a process group of its own, because a Ctrl-C in the terminal is the gateway's to handle;
    but no session of its own. Linux divides the cores among sessions (sched(7), autogroup), and a
    worker alone in one would get less of them beside a busy neighbour."""
    import asyncio  # lazily: `plan` imports this file for the oracle only, and saves 50 ms

    read_fd, write_fd = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "edgellm.runner.worker_child",
            stdin=asyncio.subprocess.PIPE,
            stdout=write_fd,
            stderr=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                **_ENVIRONMENT,
                _TUNABLES: with_huge_pages(os.environ.get(_TUNABLES, "")),
            },
            process_group=0,
        )
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    pipe = os.fdopen(read_fd, "rb", buffering=0)
    try:
        await asyncio.get_running_loop().connect_read_pipe(lambda: frames, pipe)
    except BaseException:
        pipe.close()
        await kill(process)  # nobody else knows of it
        raise
    return process


async def exit_code(process: "Process", last_words: "Task[None]") -> int | None:
    """Of a process that has closed its pipe. It should end at once; if native code holds it, it is
    killed (None), so that whoever waits for its answers is told within DEATH_S. Its last words get
    no more time than that either: a child of its may hold its stderr open, and until that is closed
    asyncio's `wait` waits as well."""
    import asyncio

    ending = asyncio.create_task(process.wait())
    _, late = await asyncio.wait((ending, last_words), timeout=DEATH_S / 2)
    ending.cancel()
    if late:
        process._transport.close()  # type: ignore[attr-defined] # nothing else closes its pipes
    code = process.returncode
    if code is None:
        await kill(process, DEATH_S / 2)
    return code


async def kill(process: "Process", wait_s: float = DEATH_S) -> None:
    """Returns when it is gone, or after `wait_s`: a driver's call can hold a process for ever."""
    import asyncio

    with contextlib.suppress(ProcessLookupError):
        process.kill()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), wait_s)


def with_huge_pages(tunables: str) -> str:
    """Tunables by which glibc's malloc asks for huge pages (its manual, "Memory Allocation
    Tunables"), unless the user has set that. Most Linux systems give them only on request. A step
    reads all weights: with pages of 4 KiB, it also reads a page table entry for each of these."""
    if _HUGE_PAGES in tunables:
        return tunables
    return ":".join(filter(None, (tunables, f"{_HUGE_PAGES}=1")))


# A question about memory must not wake a driver, which would create a context on every card.
_NO_DEVICES = {
    "CUDA_VISIBLE_DEVICES": "-1", "HIP_VISIBLE_DEVICES": "-1", "MUSA_VISIBLE_DEVICES": "-1",
    "GGML_VK_VISIBLE_DEVICES": "", "ASCEND_RT_VISIBLE_DEVICES": "", "GGML_METAL_DEVICES": "0",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piped:
    """A child whose pipes are used as bare file descriptors. Its stderr is thrown away."""

    process: "subprocess.Popen[bytes]"
    stdin_fd: int
    stdout_fd: int

    def end(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.process.wait()


def start_oracle() -> Piped:
    """The memory oracle's child. Raises OSError."""
    process = subprocess.Popen(
        child("edgellm.runner.oracle.oracle_child"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env={**os.environ, **_ENVIRONMENT, **_NO_DEVICES},
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    return Piped(process, process.stdin.fileno(), process.stdout.fileno())


def describe_exit(code: int) -> str:
    """-11 -> "SIGSEGV"; 3 -> "exit code 3"."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def n_oom_kills() -> int | None:
    """How many processes the kernel has killed for want of memory since boot (`oom_kill` in
    /proc/vmstat, which includes those of a cgroup's limit). None: it doesn't tell."""
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
        return int(counts["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


def obituary(
    code: int, while_loading: bool, log: Iterable[str], *, oom_killed: bool | None = None
) -> EdgellmError:
    """Why a worker is gone that didn't say so itself. `log`: what it printed since it was ready, or
    since it was started. `oom_killed`: whether the kernel has killed processes for want of memory
    meanwhile; None: nobody knows."""
    ending, log = describe_exit(code), list(log)
    # The kernel's out-of-memory killer sends SIGKILL, and so do programs that come before it
    # (earlyoom, systemd-oomd); an allocator that gives up aborts, and says so.
    if while_loading and (code == -signal.SIGKILL or says_out_of_memory(log)):
        if oom_killed or says_out_of_memory(log):
            why = "it ran out of memory"
        elif oom_killed is None:
            why = "it may have run out of memory"
        else:
            why = f"somebody sent it the signal; {_WATCHERS}"
        return DoesNotFit(
            f"the model's process ended ({ending}) while it loaded: {why}", hint=_SMALLER
        )
    # A killed process can't explain itself: its last lines are about something else.
    words = "" if code in _WORDLESS else "; ".join(line for line in log[-3:] if line)
    return WorkerDied(f"the model's process ended ({ending})" + (f": {words}" if words else ""))


def load_error(kind: str, text: str) -> EdgellmError:
    """The error for what a worker said of its failed load; `kind` as in LoadFailed."""
    if kind == "memory":
        return DoesNotFit(text, hint=_SMALLER)
    if kind == "file":
        return BadGGUF(text, hint="download it again, or check it with 'edgellm show'")
    if kind == "draft":
        return ConfigError(text, hint="take a smaller model of the same family, or no --draft")
    if kind == "sandbox":
        return ConfigError(text, hint='sandbox = "auto" serves without one where none can be had')
    if kind == "device":
        return EdgellmError(text, hint="'edgellm probe' shows what is there")
    return EdgellmError(text)
