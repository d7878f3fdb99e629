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

DEATH_S = 10.0  # that a process may take which is killed
_SMALLER = "try a smaller --ctx or a smaller quantization"
_WATCHERS = "the kernel didn't, a program that watches over memory may have"
_WORDLESS = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}

# GGML_NO_BACKTRACE: ggml's abort starts gdb where that is installed, and hangs for minutes.
_ENVIRONMENT = {"GGML_NO_BACKTRACE": "1", "PYTHONUNBUFFERED": "1"}
_TUNABLES = "GLIBC_TUNABLES"
_HUGE_PAGES = "glibc.malloc.hugetlb"


async def start_worker(frames: "Protocol") -> "Process":
    """`frames` gets what comes from its stdout.

    In a process group of its own: a Ctrl-C in the terminal is the gateway's to handle. Not in a
    session: Linux shares the cores out by sessions (sched(7), autogroup), and a worker that is
    alone in one gets less of them beside a busy neighbour."""
    import asyncio  # a plan asks the oracle and no worker, and is 50 ms sooner without

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
    """Of a process that has closed its pipe. It ends at once, unless native code holds it: None,
    it didn't, and was killed; whoever waits for its answers is told within DEATH_S. Its last words
    are waited for no longer, either: whom it has started may hold its stderr, and until that is
    closed asyncio's `wait` waits, too."""
    import asyncio

    ending = asyncio.create_task(process.wait())
    _, late = await asyncio.wait((ending, last_words), timeout=DEATH_S / 2)
    ending.cancel()
    if late:
        process._transport.close()  # type: ignore[attr-defined] # its pipes; nothing else does
    code = process.returncode
    if code is None:
        await kill(process, DEATH_S / 2)
    return code


async def kill(process: "Process", wait_s: float = DEATH_S) -> None:
    """Returns when it is gone, or after so long: a call of a driver can hold one for ever."""
    import asyncio

    with contextlib.suppress(ProcessLookupError):
        process.kill()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), wait_s)


def with_huge_pages(tunables: str) -> str:
    """glibc's malloc asks for huge pages (its manual, "Memory Allocation Tunables"), unless the
    user has a word of their own on that. Most Linux systems give them only to who asks; and a step
    reads all weights, which in pages of 4 KiB is an entry of the page tables for each of them."""
    if _HUGE_PAGES in tunables:
        return tunables
    return ":".join(filter(None, (tunables, f"{_HUGE_PAGES}=1")))


# No driver is woken to answer a question about memory: it would take a context on every card.
_NO_DEVICES = {
    "CUDA_VISIBLE_DEVICES": "-1", "HIP_VISIBLE_DEVICES": "-1", "MUSA_VISIBLE_DEVICES": "-1",
    "GGML_VK_VISIBLE_DEVICES": "", "ASCEND_RT_VISIBLE_DEVICES": "", "GGML_METAL_DEVICES": "0",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piped:
    """A child whose two pipes are read and written as they are; its log is for nobody."""

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
    """How many processes the kernel has ended for want of memory since the boot (`oom_kill` of
    /proc/vmstat, those of a cgroup's limit too). None: it doesn't tell."""
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
        return int(counts["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


def obituary(
    code: int, while_loading: bool, log: Iterable[str], *, oom_killed: bool | None = None
) -> EdgellmError:
    """Why a worker that told us nothing itself is gone. `log` is what it said since it was ready,
    or since it was started; `oom_killed`: whether the kernel has ended processes for want of memory
    meanwhile, None where nobody knows."""
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
    # Who is killed has no time for a word: the last one is of something else.
    words = "" if code in _WORDLESS else "; ".join(line for line in log[-3:] if line)
    return WorkerDied(f"the model's process ended ({ending})" + (f": {words}" if words else ""))


def load_error(kind: str, text: str) -> EdgellmError:
    """A worker's own word on a load that failed, by LoadFailed.kind."""
    if kind == "memory":
        return DoesNotFit(text, hint=_SMALLER)
    if kind == "file":
        return BadGGUF(text, hint="download it again, or check it with 'edgellm show'")
    if kind == "sandbox":
        return ConfigError(text, hint='sandbox = "auto" serves without one where none can be had')
    if kind == "device":
        return EdgellmError(text, hint="'edgellm probe' shows what is there")
    return EdgellmError(text)
