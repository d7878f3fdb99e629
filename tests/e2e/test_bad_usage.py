"""Commands that can't do what is asked: a code, a sentence, no traceback."""

import os
import shutil
import subprocess
import sys

import pytest
from cli_runs import DEMO_PATH


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    data = DEMO_PATH.read_bytes()
    (folder / "junk.gguf").write_bytes(b"this is no model")
    (folder / "cut.gguf").write_bytes(data[:100_000])
    (folder / "flipped.gguf").write_bytes(data[:8] + b"\xff\xff\xff\x7f" + data[12:])
    (folder / "denied.gguf").write_bytes(data)
    (folder / "denied.gguf").chmod(0)
    return folder


@pytest.mark.parametrize(
    ("code", "words", "args"),
    [
        (2, "No such command", ["nosuch"]),
        (2, "'--port'", ["serve", "demo", "--port", "abc"]),
        (2, "'--port'", ["serve", "demo", "--port", "70000"]),
        (2, "--use 'fun'", ["serve", "demo", "--use", "fun"]),
        (2, "--flash-attn 'x'", ["serve", "demo", "-fa", "x"]),
        (2, "--cache-type-k 'q9'", ["plan", "demo", "-ctk", "q9"]),
        (2, "not a size", ["serve", "demo", "--reserve", "3x"]),
        (2, "not a size", ["pull", "org/repo", "--limit-rate", "fast"]),
        (2, "does not name a model", ["serve", "a b c"]),
        (2, "this is none", ["top"]),
        (2, "a file of yours", ["rm", "./x.gguf"]),
        (2, "ships with edgellm", ["rm", "demo"]),
        (2, "ships with edgellm", ["rm", "demo:latest"]),
        (2, "ships with every edgellm", ["export", "Demo", "-o", "stick"]),
        (2, "no embedding model", ["serve", "demo", "--embedding", "demo"]),
        (3, "no file nowhere.gguf", ["serve", "nowhere.gguf"]),
        (3, "the catalog has no", ["serve", "nosuch:1b"]),
        (3, "no board is called", ["plan", "qwen3:8b", "--on", "nosuch"]),
        (3, "not on this disk", ["rm", "qwen3:8b"]),
        (4, "not a GGUF file", ["serve", "FILES/junk.gguf"]),
        (4, "cut off", ["plan", "FILES/cut.gguf"]),
        (4, "flipped.gguf", ["show", "FILES/flipped.gguf"]),
        (2, "'--ctx': 0 is less than 1", ["plan", "demo", "--ctx", "0"]),
        (2, "'-np': -3 is less than 1", ["serve", "demo", "--parallel", "-3"]),
        (2, "llama.cpp holds 2147483647", ["serve", "demo", "-c", "99999999999"]),
        (2, "no whole number", ["plan", "demo", "-ngl", "many"]),
        (2, "-ts '1,x'", ["plan", "demo", "-ts", "1,x"]),
        (2, "2 machines", ["plan", "demo", "--on", "rtx4090", "--device", "RTX 3090"]),
        (2, "2 machines", ["plan", "demo", "--users", "2", "--on", "all", "--ram", "8GiB"]),
        (2, "2 boards", ["plan", "demo", "--on", "rtx4090", "--on", "rpi5"]),
        (2, "'warp' is no kind", ["plan", "demo", "--device", "warp:24GiB"]),
        (2, "'cuda:-4GiB'", ["plan", "demo", "--device", "cuda:-4GiB"]),
        (2, "no bandwidth", ["plan", "demo", "--device", "cuda:24GiB@fast"]),
        (
            2,
            "conversations of 512 tokens",
            ["plan", "demo", "-c", "512", "--ctx", "512", "-np", "2"],
        ),
        (2, "-ts names 2 devices", ["plan", "demo", "-ts", "1,1", "--on", "rtx4090"]),
        (2, "has no experts", ["plan", "demo", "-ncmoe", "4", "--on", "rtx4090"]),
        (2, "many users", ["plan", "demo", "--tok-s", "20"]),
        (2, "no time", ["plan", "demo", "--users", "5", "--ttft", "soon"]),
        (2, "'--users': 0 is less than 1", ["plan", "demo", "--users", "0"]),
        (2, "no number", ["plan", "demo", "--max-watts", "nan"]),
        (2, "--use 'fun'", ["recommend", "--use", "fun"]),
        (3, "no board is called", ["recommend", "--on", "nosuch"]),
        (3, "no board is called", ["plan", "demo", "--users", "5", "--on", "nosuch"]),
        (9, "network is forbidden", ["serve", "qwen3:8b", "--offline"]),
        (9, "can't be reached", ["pull", "org/repo"]),
        (3, "no file ~nobody-here/a.gguf", ["serve", "~nobody-here/a.gguf"]),
        (3, "no file xxxxx", ["plan", f"{'x' * 5000}.gguf"]),
        (10, "is a folder", ["serve", "FILES"]),
        (10, ". is a folder", ["plan", "."]),
        (10, "/ is a folder", ["show", "/"]),
        (10, "no captured machine", ["probe", "--sysroot", "FILES"]),
        (12, "no server", ["stop"]),
        (2, "edgellm serve 'my model.gguf' serves that one", ["up", "my model.gguf"]),
        (12, "bench MODEL needs none", ["bench"]),
        (12, "cost MODEL needs none", ["cost"]),
        (78, "no API key", ["serve", "demo", "--host", "0.0.0.0"]),
    ],
)
def test_bad_input_ends_with_its_code_and_a_sentence(here, files, code, words, args):
    done = here(*[arg.replace("FILES", str(files)) for arg in args])

    assert (done.code, done.out) == (code, "")
    assert words in done.err


def test_an_error_of_a_real_process_has_its_code_and_no_traceback(home, files):
    done = home.run("serve", str(files / "junk.gguf"))

    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("edgellm: junk.gguf: not a GGUF file")
    assert "Traceback" not in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_exit_code_10(home, files):
    done = home.run("serve", str(files / "denied.gguf"))

    assert done.code == 10
    assert "no permission" in done.err


def test_an_empty_prompt_is_bad_input(home):
    done = home.run("run", "demo", typed=" \n")

    assert done.code == 2
    assert "prompt is empty" in done.err


def test_a_bad_setting_is_exit_code_78(home):
    assert home.run("list", EDGELLM_OFFLINE="maybe").code == 78
    assert home.run("list", EDGELLM_CONFIG="/nowhere.toml").code == 78


def test_a_broken_pipe_is_no_error(home):
    done = subprocess.run(
        f"{sys.executable} -m edgellm show qwen3:8b | head -n 1; exit ${{PIPESTATUS[0]}}",
        shell=True, executable=shutil.which("bash"), capture_output=True, text=True, env=home.env,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["plan", "serve", "run", "bench"])
def test_the_draft_model_of_the_configuration_is_every_commands(home, command):
    words = ("hi",) if command == "run" else ()
    done = home.run(command, "demo", *words, EDGELLM_DRAFT="./nowhere.gguf")

    assert done.code == 3
    assert "nowhere.gguf" in done.err


@pytest.mark.parametrize(
    "command", [("plan", "demo"), ("serve", "demo"), ("run", "demo", "hi"), ("up",)]
)
def test_two_who_would_guess_are_bad_usage(home, command):
    done = home.run(*command, "--draft", "demo", "--speculate", "mtp")

    assert done.code == 2
    assert "--draft demo and --speculate mtp exclude each other" in done.err


def test_ps_of_a_server_that_was_named_and_is_not_there_is_exit_code_12(home):
    done = home.run("ps", EDGELLM_HOST="127.0.0.1:1")

    assert done.code == 12
    assert "edgellm up" in done.err


def test_ctrl_c_while_it_is_imported_is_no_traceback(home):
    """In the place of a library that is imported early stands one that is interrupted."""
    (home.folder / "typer.py").write_text("raise KeyboardInterrupt\n")
    done = home.run("list", PYTHONPATH=str(home.folder))

    assert (done.code, done.out, done.err) == (130, "", "")
