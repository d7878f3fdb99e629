import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from scripts.setup.progress import Painter, Watch, run

BEGINS = "  Building wheel for llama-cpp-python (pyproject.toml): started"


def test_the_announcement_is_made_when_the_compilation_begins_and_once():
    watch = Watch("installing llama-cpp-python", "no wheel: compiling")
    assert watch.feed("Collecting llama-cpp-python", 1.0) is None
    assert watch.feed(BEGINS, 2.0) == "no wheel: compiling"
    assert watch.feed(BEGINS, 3.0) is None


def test_a_cached_wheel_is_no_compilation():
    watch = Watch("installing llama-cpp-python", "compiling")
    watch.feed("  Using cached llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl", 1.0)
    assert watch.status(4.0) == "installing llama-cpp-python (0:04)"


def test_ninjas_count_becomes_a_share_and_the_time_that_is_left():
    watch = Watch("installing")
    watch.feed(BEGINS, 0.0)
    assert watch.status(20.0) == "compiling llama.cpp, 0:20"
    watch.feed("  [48/192] /usr/bin/g++ -DGGML_BUILD -o ggml.cpp.o", 100.0)
    assert watch.status(161.0) == "compiling llama.cpp [48/192] 25%, 2:41, about 8 min left"


@pytest.mark.parametrize(
    ("line", "lacked_memory"),
    [
        ("c++: fatal error: Killed signal terminated program cc1plus", True),
        ("clang: error: unable to execute command: Killed", True),
        ("nvcc error   : 'cicc' died due to signal 9 (Kill signal)", True),
        ("cc1plus: out of memory allocating 65536 bytes after a total of 8388608 bytes", True),
        ("virtual memory exhausted: Cannot allocate memory", True),
        ("ggml.c:1:10: fatal error: vulkan/vulkan.hpp: No such file or directory", False),
        ("[12/99] c++ -o ggml-alloc.c.o -c memory.cpp", False),
    ],
)
def test_a_compiler_that_found_no_memory_is_known_by_its_words(line, lacked_memory):
    watch = Watch("compiling")
    for one in (BEGINS, line, "ninja: build stopped: subcommand failed."):
        watch.feed(one, 0.0)
    assert watch.lacked_memory is lacked_memory


def test_makes_percentage_is_understood_too():
    watch = Watch("installing")
    watch.feed(BEGINS, 0.0)
    watch.feed("  [ 50%] Building CXX object ggml.cpp.o", 60.0)
    assert watch.status(60.0) == "compiling llama.cpp [50/100] 50%, 1:00, about 1 min left"


def test_a_failure_shows_its_last_words_and_keeps_all_in_the_log(tmp_path):
    out = io.StringIO()
    words = "import sys; print('first'); print('x' * 999); print('no CUDA toolset'); sys.exit(3)"
    log = tmp_path / "log"
    done = run([sys.executable, "-c", words], Watch("trying"), log, Painter(out), os.environ)
    assert not done
    assert out.getvalue().splitlines()[-1] == "  | no CUDA toolset"
    assert max(len(line) for line in out.getvalue().splitlines()) < 200
    assert "first" in log.read_text()


def test_off_a_terminal_lines_are_plain_and_half_a_minute_apart():
    out = io.StringIO()
    painter = Painter(out)
    painter.begin(0.0)
    for second in range(95):
        painter.show(f"at {second}", float(second))
    assert out.getvalue() == "  at 30\n  at 60\n  at 90\n"


SETUP = """
import os, signal, sys
from pathlib import Path
from scripts.setup.progress import Painter, Watch, run
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as install.py does
child = "import time; print('begun', flush=True); time.sleep(60)"
run([sys.executable, "-u", "-c", child], Watch("waiting"), Path(sys.argv[1]), Painter(), os.environ)
"""


def _ends(pid, within_s=30.0):
    stop_s = time.monotonic() + within_s
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > stop_s:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def setting_up(tmp_path):
    """A shell that runs a set-up that runs a program."""
    script, log = tmp_path / "setup.py", tmp_path / "log"
    script.write_text(SETUP)
    log.touch()
    line = f"{sys.executable} {script} {log}; true"  # "; true": no exec
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(["bash", "-c", line], env=env, stderr=subprocess.DEVNULL) as shell:
        stop_s = time.monotonic() + 60
        while "begun\n" not in log.read_text():
            assert time.monotonic() < stop_s
            time.sleep(0.05)
        (python,) = psutil.Process(shell.pid).children()
        (program,) = python.children()
        yield shell.pid, python.pid, program.pid
        shell.kill()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_what_is_run_ends_with_the_set_up(setting_up, how):
    _, python, program = setting_up
    os.kill(python, how)
    assert _ends(program)
    assert _ends(python)


def test_a_set_up_ends_with_the_shell_that_started_it(setting_up):
    shell, python, program = setting_up
    os.kill(shell, signal.SIGTERM)
    assert _ends(program)
    assert _ends(python)
