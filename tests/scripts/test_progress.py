import io
import os
import sys

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
