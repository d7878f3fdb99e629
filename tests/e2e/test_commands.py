"""Commands that need no server: what they print, and how they end."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_runs import DEMO_PATH, EDGELLM, Result
from typer.main import get_command
from typer.testing import CliRunner

from edgellm.cli.main import app, main

COMMANDS = (
    "up", "serve", "run", "pull", "list", "show", "rm", "ps", "stop", "probe", "plan", "recommend",
    "top", "record", "bench", "tune", "cost", "doctor",
)  # fmt: skip
HEAVY = (
    "huggingface_hub", "httpx2", "textual", "starlette", "uvicorn", "jinja2", "msgspec", "numpy",
    "psutil", "rich", "asyncio", "edgellm.selector", "edgellm.models", "edgellm.probe",
)  # fmt: skip


def test_help_names_every_command_and_every_exit_code(home):
    done = home.run("--help")

    assert done.code == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", done.out, re.MULTILINE), command
    for code in (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 78, 130):
        assert re.search(rf"\b{code} +[a-z]", done.out), code


def test_every_exit_code_that_an_error_has_is_in_the_help(home):
    from edgellm import errors

    told = home.run("--help").out
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.EdgellmError)
    }

    assert all(re.search(rf"\b{code} +[a-z]", told) for code in codes)


def test_help_imports_nothing_heavy(home):
    program = (
        "import sys\n"
        "sys.argv = ['edgellm', '--help']\n"
        "from edgellm.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True)

    assert done.stderr.split() == []
    assert "Usage: edgellm" in done.stdout


@pytest.mark.slow
def test_help_answers_in_a_quarter_of_a_second(home):
    """The best of five: the machine may be busy, the program must not be."""
    took_s = []
    for _ in range(5):
        begun_s = time.perf_counter()
        home.run("--help")
        took_s.append(time.perf_counter() - begun_s)

    assert min(took_s) < 0.25


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_teaches_by_examples(command):
    """In this process: fourteen more would cost seconds."""
    told = CliRunner().invoke(app, [command, "--help"]).output

    assert f"edgellm {command}" in told.partition("Options:")[0].partition("\n")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_fits_two_screens_and_names_every_flag(command):
    at_80 = {"COLUMNS": "80"}
    told = CliRunner().invoke(app, [command, "--help"], env=at_80).output
    params = get_command(app).commands[command].params
    flags = {name for one in params for name in one.opts if name.startswith("--")}

    assert len(told.splitlines()) <= 40
    assert {name for name in flags if name not in told} == set()


def test_version(home):
    assert re.fullmatch(r"edgellm \d+\.\d+\.\d+\n", home.run("--version").out)


def test_help_may_be_asked_for_as_a_command(home):
    assert home.run("help").out == home.run("--help").out
    assert home.run("help", "serve").out == home.run("serve", "--help").out


def test_no_arguments_show_the_help(home):
    assert "Usage: edgellm" in home.run().out + home.run().err


def test_shell_completion_knows_the_commands(home):
    done = home.run(_EDGELLM_COMPLETE="complete_bash", COMP_WORDS="edgellm p", COMP_CWORD="1")

    assert done.out.split() == ["pull", "ps", "probe", "plan"]


@pytest.fixture
def here(home, monkeypatch, capsys):
    """Runs a command in this process: the same `main`, half a second sooner."""
    for name in [name for name in os.environ if name.startswith(("EDGELLM_", "HF_"))]:
        monkeypatch.delenv(name)
    for name, value in home.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(home.folder)

    def run(*args):
        with pytest.raises(SystemExit) as ended:
            main(args)
        out, err = capsys.readouterr()
        return Result(ended.value.code, out, err)

    return run


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
        (12, "no server", ["bench"]),
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


def test_probe_tells_this_machine_in_text_and_json(here):
    told = json.loads(here("probe", "--json").out)

    assert told["devices"][-1]["id"] == "cpu"
    assert told["pools"][-1]["bandwidth_bytes_s"] > 0
    assert "What llama.cpp uses:" in here("probe").out


def test_probe_shows_what_the_sources_said(here):
    assert "== /proc/meminfo" in here("probe", "--raw").out
    told = json.loads(here("probe", "--raw", "--json").out)
    assert "/proc/meminfo" in {said["source"] for said in told}


def test_plan_explains_and_has_a_documented_json(here):
    told = json.loads(here("plan", "qwen3:8b", "--on", "rtx4090", "--json").out)

    assert told["plan"]["fits"] is True
    assert told["plan"]["decode_tok_s"]["p10"] <= told["plan"]["decode_tok_s"]["p90"]
    assert told["rejected"]


def test_what_does_not_fit_is_exit_code_5_with_what_would_fit_instead(here):
    done = here("plan", "qwen3:235b-a22b", "--on", "rpi5")

    assert done.code == 5
    assert "does not fit" in done.err
    assert re.search(r"--on \S+: \S+, 4 × \d+ tokens", done.out)


def test_the_json_of_what_does_not_fit_says_so(here):
    done = here("plan", "qwen3:235b-a22b", "--on", "rpi5", "--json")
    told = json.loads(done.out)

    assert done.code == 5
    assert told["plan"]["fits"] is False
    assert "does not fit" in told["plan"]["reasons"][0]


def test_a_draft_model_that_does_not_fit_is_told_as_json_too(here):
    draft = ("--draft", "qwen3:235b-a22b")
    done = here("plan", "qwen3:0.6b", *draft, "--on", "rpi5", "--json")
    told = json.loads(done.out)

    assert done.code == 5
    assert told["plan"]["fits"] is False
    assert re.match(r"qwen3:235b-a22b .* does not fit", told["plan"]["reasons"][0])


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


def test_boards_are_sized_for_many_users(here):
    words = (
        "plan",
        "qwen3:8b",
        "--users",
        "50",
        "--tok-s",
        "20",
        "--on",
        "rtx4090",
        "--on",
        "rpi5",
    )
    (row,) = json.loads(here(*words, "--json").out)["boards"]
    text = here(*words).out

    assert (row["board"], row["binding"]) == ("rtx4090", "tok/s")
    assert row["n_boards"] * row["n_users"] >= 50
    counts = " +".join(str(row[name]) for name in ("n_boards", "n_devices", "n_users"))
    assert re.search(rf"^rtx4090 +{counts} ", text, re.MULTILINE)


def test_a_demand_that_no_board_meets_is_exit_code_5(here):
    done = here("plan", "qwen3:8b", "--users", "5", "--tok-s", "9000", "--on", "rpi5")

    assert (done.code, done.out) == (5, "")
    assert "not even one" in done.err or "even one user" in done.err


def test_models_are_recommended_for_a_described_machine(here):
    told = json.loads(here("recommend", "--on", "rpi5", "--json").out)
    text = here("recommend", "--on", "rpi5").out

    assert 1 <= len(told) <= 10
    assert all(row["decode_tok_s"]["p50"] > 0 for row in told)
    assert f"edgellm plan {told[0]['model']} --on rpi5" in text


def test_devices_can_be_described_one_by_one(here):
    words = ("--device", "RTX 3090", "--device", "cuda:8GiB@256", "--ram", "32GiB@40", "--json")
    told = json.loads(here("plan", "qwen3:8b", *words).out)

    assert told["plan"]["devices"][0]["id"] == "cuda:0"


def test_a_pinned_number_is_obeyed(here):
    args = ("plan", "demo", "--ctx", "512", "--parallel", "3", "-ctk", "q8_0", "-t", "1", "--json")
    plan = json.loads(here(*args).out)["plan"]

    pinned = {key: plan[key] for key in ("n_ctx_seq", "n_parallel", "kv_type_k", "n_threads")}
    assert pinned == {"n_ctx_seq": 512, "n_parallel": 3, "kv_type_k": "q8_0", "n_threads": 1}


def test_a_micro_batch_beyond_the_context_is_cut_as_llama_cpp_cuts_it(here):
    plan = json.loads(here("plan", "demo", "-ub", "2147483647", "--json").out)["plan"]

    assert plan["n_ubatch"] == plan["n_ctx"]
    assert plan["prefill_tok_s"]["p50"] > 1


def test_list_shows_the_demo_and_how_to_get_more(here):
    done = here("list")

    assert re.search(r"^demo +\d", done.out, re.MULTILINE)
    assert "edgellm pull" in done.out
    (demo,) = json.loads(here("list", "--json").out)
    assert (demo["name"], demo["repo"], demo["quant"]) == ("demo", None, "F16")
    assert Path(demo["path"]).stat().st_size == demo["size_bytes"] == demo["done_bytes"]


def test_show_prints_licence_and_quantizations(here):
    told = here("show", "qwen3:8b").out

    assert re.search(r"licence +apache-2.0", told)
    assert re.search(r"^Q4_K_M +\d", told, re.MULTILINE)
    assert "<|im_start|>" in here("show", "demo", "--template").out


def test_show_json_has_the_same_facts(here):
    told = json.loads(here("show", "demo", "--json").out)

    assert told["model"]["license"] == "mit"
    assert told["quants"][0]["is_here"] is True


def test_ps_without_a_server_is_no_failure(here):
    assert here("ps").code == 0
    assert json.loads(here("ps", "--json").out) == []


def test_ps_of_a_server_that_was_named_and_is_not_there_is_exit_code_12(home):
    done = home.run("ps", EDGELLM_HOST="127.0.0.1:1")

    assert done.code == 12
    assert "edgellm up" in done.err


def test_doctor_checks_and_says_what_it_found(here):
    done = here("doctor")
    findings = json.loads(here("doctor", "--json").out)

    assert done.code == (1 if any(one["verdict"] == "problem" for one in findings) else 0)
    assert {"python", "engine", "memory", "disk"} <= {one["name"] for one in findings}
    n_wrong = sum(one["verdict"] in ("warning", "problem") for one in findings)
    assert ("nothing is wrong" in done.out.splitlines()) == (n_wrong == 0)


def test_ctrl_c_while_it_is_imported_is_no_traceback(home):
    """In the place of a library that is imported early stands one that is interrupted."""
    (home.folder / "typer.py").write_text("raise KeyboardInterrupt\n")
    done = home.run("list", PYTHONPATH=str(home.folder))

    assert (done.code, done.out, done.err) == (130, "", "")


def test_python_dash_m_is_the_same_program(home):
    assert EDGELLM[1:] == ("-m", "edgellm")
    assert home.run("--version").code == 0
