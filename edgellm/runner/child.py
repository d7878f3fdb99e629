"""Starting a worker's process, and reading how one ended."""

import asyncio
import os
import signal
import sys

# GGML_NO_BACKTRACE: ggml's abort starts gdb where that is installed, and hangs for minutes.
# GOMP_SPINCOUNT: beside one busy neighbour a token takes 70 ms instead of 169; alone, no loss.
_ENVIRONMENT = {"GGML_NO_BACKTRACE": "1", "GOMP_SPINCOUNT": "20000", "PYTHONUNBUFFERED": "1"}


async def start_worker() -> asyncio.subprocess.Process:
    """In a session of its own: a Ctrl-C in the terminal is the gateway's to handle."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "edgellm.runner.worker_child",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **_ENVIRONMENT},
        start_new_session=True,
    )


def describe_exit(code: int) -> str:
    """-11 -> "SIGSEGV"; 3 -> "exit code 3"."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def was_killed_for_memory(code: int, while_loading: bool) -> bool:
    """The kernel's out-of-memory killer sends SIGKILL; during a load nobody else does."""
    return while_loading and code == -signal.SIGKILL
