"""Ends of a command that need a server in trouble: real processes, and their exit codes."""

import contextlib
import os
import signal
import threading

import httpx2
import pytest
from cli_runs import PATIENCE_S, wait_for

pytestmark = pytest.mark.model


# A context that no machine fills while somebody starts a program.
ALONE = ("serve", "demo", "--port", "0", "--parallel", "1", "--ctx", "65536")


def figures(live):
    return live.get("/edgellm/status").json()["models"][0]


@contextlib.contextmanager
def busy(live):
    """The only conversation that the server holds writes for as long as this lasts, or longer."""
    body = {"prompt": "Once", "max_tokens": 1 << 20, "ignore_eos": True, "stream": True}

    def write():
        with (
            contextlib.suppress(httpx2.HTTPError),
            httpx2.stream("POST", f"{live.url}/v1/completions", json=body, timeout=60) as answer,
        ):
            for _ in answer.iter_raw():
                if over.is_set():
                    return

    over = threading.Event()
    writing = threading.Thread(target=write)
    writing.start()
    try:
        wait_for(lambda: figures(live)["n_running"] == 1)
        yield
    finally:
        over.set()
        writing.join()


def test_a_full_queue_is_exit_code_7(home):
    with home.serving(*ALONE, "--max-queue", "0") as live, busy(live):
        done = home.run("run", "demo", "Hello!")

    assert (done.code, done.out.strip()) == (7, "")
    assert done.err.startswith("edgellm: ")
    assert "Traceback" not in done.err


def test_a_model_process_that_dies_under_a_question_is_exit_code_8(home, terminal):
    with home.serving(*ALONE) as live, busy(live):
        asking = terminal("run", "demo", "Hello!")
        wait_for(lambda: figures(live)["n_waiting"] == 1)
        os.kill(figures(live)["pid"], signal.SIGKILL)
        assert asking.process.wait(timeout=PATIENCE_S) == 8

    assert "edgellm: " in asking.text
    assert "Traceback" not in asking.text


def test_a_misspelt_variable_is_told_and_the_command_goes_on(home):
    done = home.run("list", EDGELLM_OFLINE="1")

    assert done.code == 0
    assert done.err.startswith("EDGELLM_OFLINE is no setting of edgellm")
    assert done.err.endswith("did you mean EDGELLM_OFFLINE?\n")
    assert home.run("list", EDGELLM_OFFLINE="1").err == ""


def test_a_server_that_wants_another_key_is_not_taken_for_none(home):
    with home.serving("serve", "demo", "--port", "0", "--api-key", "secret") as live:
        refused = [home.run(*words) for words in (("ps",), ("stop",))]
        wrong = home.run("ps", EDGELLM_API_KEY="guessed")
        seen = home.run("ps", EDGELLM_API_KEY="secret")

    for done in (*refused, wrong):
        assert (done.code, done.out) == (12, "")
        assert live.url in done.err
        assert "EDGELLM_API_KEY" in done.err
    assert (seen.code, live.url in seen.out) == (0, True)
