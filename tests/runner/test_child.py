import asyncio
import signal
from pathlib import Path

import clockwork
import psutil
import pytest

from edgellm.errors import DoesNotFit
from edgellm.runner import child
from edgellm.runner.child import n_oom_kills, obituary, start_worker, with_huge_pages


def test_malloc_is_asked_for_huge_pages():
    assert with_huge_pages("") == "glibc.malloc.hugetlb=1"


def test_other_tunables_of_the_user_stay():
    asked = "glibc.malloc.arena_max=2"
    assert with_huge_pages(asked) == f"{asked}:glibc.malloc.hugetlb=1"


@pytest.mark.parametrize(
    "asked", ["glibc.malloc.hugetlb=0", "glibc.rtld.nns=4:glibc.malloc.hugetlb=2"]
)
def test_a_word_of_the_user_on_huge_pages_stands(asked):
    assert with_huge_pages(asked) == asked


def test_who_was_killed_said_nothing_about_it():
    log = ["load: control-looking token: 128247 '</s>' was not control-type"]
    assert str(obituary(-signal.SIGKILL, False, log)) == "the model's process ended (SIGKILL)"
    assert str(obituary(-signal.SIGTERM, False, log)) == "the model's process ended (SIGTERM)"


def test_who_aborts_says_why():
    said = ["ggml.c:1: GGML_ASSERT(n > 0) failed"]
    assert str(obituary(-signal.SIGABRT, False, said)).endswith(f"(SIGABRT): {said[0]}")


@pytest.mark.parametrize(
    ("oom_killed", "words"),
    [(True, "it ran out of memory"), (None, "it may have run out of memory")],
)
def test_a_kill_while_it_loads_is_taken_for_the_kernels_as_far_as_it_tells(oom_killed, words):
    ended = obituary(-signal.SIGKILL, True, [], oom_killed=oom_killed)
    assert isinstance(ended, DoesNotFit)
    assert str(ended).endswith(words)


class Held:
    """A process that a driver's call holds: it hears no signal."""

    returncode = None

    def __init__(self):
        self.signals, self._transport = [], self

    def close(self):
        pass

    def kill(self):
        self.signals.append(signal.SIGKILL)

    async def wait(self):
        await asyncio.Event().wait()


def test_a_process_that_does_not_end_after_its_pipe_is_killed_and_waited_for_no_longer_than_any():
    async def run():
        loop, held = asyncio.get_running_loop(), Held()
        words = asyncio.create_task(held.wait())
        begun_s = loop.time()
        code = await child.exit_code(held, words)
        words.cancel()
        return code, held.signals, loop.time() - begun_s

    code, signals, elapsed_s = clockwork.run(run())
    assert (code, signals) == (None, [signal.SIGKILL])
    assert elapsed_s == pytest.approx(child.DEATH_S)


def test_a_kill_while_it_loads_that_was_not_the_kernels_is_told_so():
    ended = obituary(-signal.SIGKILL, True, [], oom_killed=False)
    assert "somebody sent it the signal" in str(ended)
    assert "ran out" not in str(ended)


def test_an_allocator_that_gave_up_needs_no_killer():
    ended = obituary(-signal.SIGABRT, True, ["std::bad_alloc"], oom_killed=False)
    assert str(ended).endswith("it ran out of memory")


def test_the_kernels_kills_are_counted_where_it_tells():
    told = Path("/proc/vmstat")
    is_told = told.exists() and "oom_kill " in told.read_text()
    assert isinstance(n_oom_kills(), int) is is_told


def test_a_worker_whose_pipe_cannot_be_read_is_not_left_behind(monkeypatch):
    async def run():
        loop, asked = asyncio.get_running_loop(), []
        connect = loop.connect_read_pipe

        async def refuse_the_second(protocol, pipe):
            asked.append(pipe)
            if (
                len(asked) == 1
            ):  # its stderr, which asyncio reads: without that its `wait` never ends
                return await connect(protocol, pipe)
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(loop, "connect_read_pipe", refuse_the_second)
        before = {one.pid for one in psutil.Process().children()}
        with pytest.raises(OSError, match="Too many"):
            await start_worker(asyncio.Protocol())
        return [one for one in psutil.Process().children() if one.pid not in before]

    assert asyncio.run(run()) == []
