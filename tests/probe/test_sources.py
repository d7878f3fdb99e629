import signal
import subprocess
import sys
import threading
import time

import pytest

from edgellm.probe.sources import (
    NoAnswer,
    Output,
    SysrootSources,
    SystemSources,
    capture_name,
    child,
    end,
)


def test_a_program_answers_with_its_words_and_its_exit_code():
    answer = SystemSources().run(("sh", "-c", "echo out; echo err >&2; exit 3"), 5.0)

    assert answer == Output("out\n", "err\n", 3)


def test_a_missing_program_is_absent():
    answer = SystemSources().run(("no-such-program-here",), 1.0)

    assert isinstance(answer, NoAnswer)
    assert answer.kind == "absent"


def test_a_program_that_may_not_be_started_is_denied_and_not_absent(tmp_path, monkeypatch):
    (tmp_path / "some-smi").write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path))

    answer = SystemSources().run(("some-smi",), 1.0)

    assert isinstance(answer, NoAnswer)
    assert answer.kind == "denied"


def test_a_hanging_program_is_given_up_in_time_and_so_are_its_children():
    began_s = time.monotonic()
    # The grandchild holds the pipe: who only ends the shell would wait for it.
    answer = SystemSources().run(("sh", "-c", "sleep 30 & wait"), 0.2)

    assert answer == NoAnswer("timeout", "sh gave no answer within 0.2 s")
    assert time.monotonic() - began_s < 25.0


def test_one_that_is_stuck_in_the_kernel_is_left_to_a_thread_that_knows_its_end():
    class Stuck(subprocess.Popen):
        ends, is_reaped = threading.Event(), threading.Event()

        def wait(self, timeout=None):
            if not self.ends.wait(timeout):
                raise subprocess.TimeoutExpired(self.args, timeout)
            code = super().wait(timeout)
            self.is_reaped.set()
            return code

    with Stuck(("sleep", "60"), start_new_session=True) as process:
        end(process)
        assert process.returncode is None
        process.ends.set()
        assert process.is_reaped.wait(30)
        assert process.returncode == -signal.SIGKILL


def test_a_flood_is_cut_off():
    answer = SystemSources().run((sys.executable, "-c", "while True: print('x' * 100000)"), 10.0)

    assert answer == NoAnswer("broken", f"{capture_name((sys.executable,))} wrote more than 4 MiB")


def test_colours_and_broken_bytes_do_no_harm():
    answer = SystemSources().run(("printf", r"\033[31mred\033[0m \377"), 5.0)

    assert answer == Output("red \N{REPLACEMENT CHARACTER}")


def test_files_are_read_below_the_root(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "version").write_text("Linux 6.8\n")
    sources = SystemSources(tmp_path)

    assert sources.read_text("/proc/version") == "Linux 6.8\n"
    assert sources.list("/proc/v*") == ("/proc/version",)
    missing = sources.read_text("/proc/meminfo")
    assert isinstance(missing, NoAnswer)
    assert missing.kind == "absent"


def test_a_folder_in_a_files_place_is_broken_not_an_exception(tmp_path):
    (tmp_path / "proc").mkdir()

    answer = SystemSources(tmp_path).read_text("/proc")

    assert isinstance(answer, NoAnswer)
    assert answer.kind == "broken"


def test_links_lead_within_the_root(tmp_path):
    (tmp_path / "devices" / "0000:03:00.0").mkdir(parents=True)
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "device").symlink_to("../devices/0000:03:00.0")

    assert SystemSources(tmp_path).real_path("/class/device") == "/devices/0000:03:00.0"


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (("/usr/sbin/sysctl", "hw"), "sysctl hw"),
        (("npu-smi", "info", "-m"), "npu-smi info -m"),
        (child("edgellm.probe.nvml_child"), "nvml_child"),
        ((*child("edgellm.probe.bandwidth_child"), "8"), "bandwidth_child"),
    ],
)
def test_a_command_is_found_again_in_a_capture_by_its_name(argv, name):
    assert capture_name(argv) == name


def test_a_captured_machine_replays_output_errors_and_code(tmp_path):
    commands = tmp_path / "commands"
    commands.mkdir()
    (commands / "tool.out").write_text("half")
    (commands / "tool.err").write_text("driver gone")
    (commands / "tool.code").write_text("9")
    (tmp_path / "system").write_text("Darwin\n")
    sources = SysrootSources(tmp_path)

    assert sources.system == "Darwin"
    assert sources.run(("tool",), 1.0) == Output("half", "driver gone", 9)
    assert sources.run(("other",), 1.0) == NoAnswer("absent", "other was not captured")
    assert sources.list("/sys/class/drm/*") == ()
