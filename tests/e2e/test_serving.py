"""A real server with the demo, and the commands that talk to it."""

import contextlib
import json
import signal
import socket
import subprocess
import time

import httpx2
import psutil
import pytest
from cli_runs import (
    DEMO_PATH,
    EDGELLM,
    PATIENCE_S,
    SHARED_MODELS,
    needs_shared_models,
    wait_for,
)

pytestmark = pytest.mark.model
HELLO = {"messages": [{"role": "user", "content": "Hello!"}], "temperature": 0}


def test_the_line_that_is_printed_can_be_pasted(demo_home):
    line = next(line for line in demo_home.live.out.splitlines() if line.startswith("curl "))
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=PATIENCE_S)

    assert "demo model" in json.loads(done.stdout)["choices"][0]["message"]["content"]


def test_ps_shows_the_model_and_its_memory(demo_home):
    done = demo_home.run("ps")
    heading, row = done.out.splitlines()[1:3]

    assert heading.split()[:3] == ["NAME", "STATE", "QUANT"]
    assert row.split()[:3] == ["demo", "ready", "F16"]
    assert "100% CPU" in row
    (status,) = json.loads(demo_home.run("ps", "--json").out)
    assert status["url"] == demo_home.live.url
    (host,) = status["models"][0]["plan"]["shares"]
    for part in ("weight_bytes", "kv_bytes", "compute_bytes"):
        assert host["measured"][part] == pytest.approx(host["predicted"][part], rel=0.01)


def test_run_asks_the_server_that_has_the_model(demo_home):
    before = decoded(demo_home)
    done = demo_home.run("run", "demo", "Hello!", "--temperature", "0", "--verbose")

    assert "demo model" in done.out
    assert "eval rate:" in done.err
    assert "loading" not in done.err
    wait_for(lambda: decoded(demo_home) > before)


def test_run_takes_the_prompt_from_a_pipe(demo_home):
    done = demo_home.run("run", "demo", "--temperature", "0", typed="Hello!\n")

    assert done.code == 0
    assert "demo model" in done.out


def test_run_tells_an_answer_and_its_figures_in_json(demo_home):
    done = demo_home.run("run", "demo", "Hello!", "--temperature", "0", "--no-think", "--json")
    told = json.loads(done.out)

    assert "demo model" in told["text"]
    assert told["reason"] == "stop"
    assert told["n_output"] > 1
    assert told["decode_tok_s"] > 0
    assert done.err == "(demo can't be told whether to think)\n"


def test_what_is_too_long_for_the_context_is_the_callers_fault(demo_home):
    done = demo_home.run("run", "demo", typed="word " * 5000)

    assert done.code == 2
    assert "too long" in done.err


def test_run_asks_the_server_that_the_environment_names(demo_home, home):
    done = home.run("run", "demo", "Hello!", EDGELLM_HOST=demo_home.live.url)

    assert done.code == 0
    assert "loading" not in done.err


def test_run_of_a_model_that_the_named_server_has_not_is_exit_code_3(demo_home, home):
    done = home.run("run", "nosuch", "Hello!", EDGELLM_HOST=demo_home.live.url)

    assert done.code == 3
    assert "nosuch" in done.err


def test_run_passes_the_servers_refusal_on(demo_home):
    done = demo_home.run("run", "demo", "word " * 9000)

    assert done.code == 2
    assert "context" in done.err


def test_a_second_server_on_the_same_port_is_exit_code_11(demo_home):
    port = demo_home.live.url.rpartition(":")[2]
    for command in (["serve", "demo"], ["up", "--demo"]):
        done = demo_home.run(*command, "--port", port)
        assert done.code == 11
        assert f"demo is served at {demo_home.live.url} already" in done.err


def test_bench_measures_the_running_server(demo_home):
    sizes = ("-p", "32", "-n", "8", "-r", "2")
    drawn, done = (demo_home.run("bench", *sizes, *words) for words in ((), ("--json",)))

    assert (drawn.code, done.code) == (0, 0)
    told = json.loads(done.out)
    assert [row["test"] for row in told["rows"]] == ["prefill"] + ["decode"] * 4
    assert all(rate > 0 for row in told["rows"] for rate in row["tok_s"])
    assert "decode tok/s after so many tokens" in drawn.out


def test_bench_refuses_more_tokens_than_the_context_has(demo_home):
    done = demo_home.run("bench", "-p", "100000")

    assert done.code == 2
    assert "a conversation has" in done.err


def test_a_soak_compares_cold_with_warm(demo_home):
    done = demo_home.run("bench", "--soak", "0.3s", "-n", "4", "--json")
    told = json.loads(done.out)

    assert len(told["moments"]) >= 2
    assert told["cold_tok_s"] > 0


def test_ctrl_c_in_the_middle_is_exit_code_130(demo_home):
    before = decoded(demo_home)
    with subprocess.Popen(
        (*EDGELLM, "bench", "--soak", "600s", "-n", "4"), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=demo_home.env,
    ) as process:  # fmt: skip
        wait_for(lambda: decoded(demo_home) > before)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 130
    assert "Traceback" not in out + err


def test_run_without_a_server_loads_the_model_for_itself(home):
    done = home.run("run", "demo", "Hello!", "--temperature", "0")

    assert "demo model" in done.out
    assert home.run("ps", "--json").out.strip() == "[]"


def test_run_serves_a_file_by_its_path(home):
    done = home.run("run", str(DEMO_PATH), "Hello!", "--temperature", "0", "--max-tokens", "5")

    assert done.code == 0
    assert done.out.strip()


def test_stop_ends_a_server_with_exit_code_0(home):
    with home.serving("serve", "demo", "--port", "0") as live:
        done = home.run("stop")
        assert (done.code, done.out) == (0, f"stopped {live.url}\n")
        assert live.process.wait(timeout=PATIENCE_S) == 0
    nobody = home.run("stop")
    assert (nobody.code, nobody.err) == (12, "edgellm: no server is running here\n")
    nothing_left = home.run("stop", "--all")
    assert (nothing_left.code, nothing_left.out) == (0, "no server is running here\n")


def test_sigterm_ends_a_server_with_exit_code_0_and_leaves_nothing_behind(home):
    with home.serving("serve", "demo", "--port", "0") as live:
        worker = live.get("/edgellm/status").json()["models"][0]["pid"]
        assert live.end(signal.SIGTERM) == 0
    assert not process_exists(worker)
    assert home.run("ps", "--json").out.strip() == "[]"


HALF = "edgellm_request_bodies_bytes 1.0"  # what has been read of it


@contextlib.contextmanager
def half_a_request(url):
    """It keeps a server that winds up from its end, as an answer would that goes on."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        )
        yield


def test_a_server_that_winds_up_is_shown_as_such_and_waited_for(home):
    with home.serving("serve", "demo", "--port", "0") as live:
        with half_a_request(live.url):
            wait_for(lambda: HALF in live.get("/metrics").text)
            live.process.send_signal(signal.SIGTERM)
            wait_for(lambda: "is stopping" in home.run("ps").out)
            assert home.run("ps", "--json").out.strip() == "[]"
            late = home.run("stop", "--all", "--wait", "0.2")
            assert (late.code, "still ending" in late.err) == (12, True)
        assert live.process.wait(timeout=PATIENCE_S) == 0
    assert home.run("stop", "--all").out == "no server is running here\n"


def test_ctrl_c_ends_a_server_and_leaves_nothing_behind(home):
    with home.serving("serve", "demo", "--port", "0") as live:
        worker = live.get("/edgellm/status").json()["models"][0]["pid"]
        assert live.end(signal.SIGINT) in (0, 130)
    assert not process_exists(worker)


def test_the_state_of_a_server_that_was_killed_is_stale(home):
    with home.serving("serve", "demo", "--port", "0") as live:
        live.end(signal.SIGKILL)
        assert home.run("ps", "--json").out.strip() == "[]"
        assert home.run("stop").code == 12


def test_of_two_servers_one_must_be_named(home):
    with (
        home.serving("serve", "demo", "--port", "0", "--name", "one"),
        home.serving("serve", "demo", "--port", "0", "--name", "two") as second,
    ):
        done = home.run("stop")
        assert done.code == 2
        assert "2 servers are running" in done.err
        assert home.run("stop", "two").out == f"stopped {second.url}\n"
        assert home.run("stop", "--all").code == 0


def test_a_unix_socket_serves_and_is_found(home):
    path = home.folder / "e.sock"
    with home.serving("serve", "demo", "--unix-socket", str(path)) as live:
        assert live.url == f"unix://{path}"
        assert f"--unix-socket {path}" in live.out
        assert home.run("run", "demo", "Hello!", "--max-tokens", "5").code == 0
        second = home.run("serve", "demo", "--unix-socket", str(path))
        assert (second.code, f"at {live.url} already" in second.err) == (11, True)
        assert home.run("stop").code == 0
    assert not path.exists()


def test_a_key_is_asked_for_and_never_printed(home):
    with home.serving("serve", "demo", "--port", "0", "--api-key", "secret-word") as live:
        assert "secret-word" not in live.out + "".join(live.err)
        assert "$EDGELLM_API_KEY" in live.out
        assert live.get("/v1/models").status_code == 401
        assert home.run("run", "demo", "Hi", EDGELLM_API_KEY="secret-word").code == 0
        denied = home.run("ps", EDGELLM_HOST=live.url)
        assert denied.code == 12
        assert "EDGELLM_API_KEY" in denied.err
        assert home.run("stop", EDGELLM_API_KEY="secret-word").code == 0


def test_it_listens_while_it_loads_and_says_so(home):
    with home.serving("serve", "demo", "--port", "0") as live:
        assert any("listening on" in line for line in live.err)
        assert live.get("/health").status_code == 200


def test_a_file_that_llama_cpp_refuses_is_exit_code_4_or_5_and_frees_the_port(home):
    """The header is right, so only the load itself can tell: the tensors are of another shape."""
    data = bytearray(DEMO_PATH.read_bytes())
    at = data.index(b"llama.attention.head_count_kv") + len(b"llama.attention.head_count_kv") + 4
    data[at : at + 4] = (4).to_bytes(4, "little")  # the file was made with 2
    (home.folder / "odd.gguf").write_bytes(data)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]

    done = home.run("serve", "odd.gguf", "--port", str(port))

    assert done.code == 4
    assert "Traceback" not in done.err
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False)


@needs_shared_models
def test_tune_of_an_embedding_model_is_bad_input(home):
    done = home.run("tune", str(SHARED_MODELS / "all-minilm-l6-v2-q8_0.gguf"))

    assert done.code == 2
    assert "nothing that tune could vary" in done.err


def test_ctrl_c_while_tuning_leaves_no_process_and_no_file(home, tmp_path):
    with subprocess.Popen(
        (*EDGELLM, "tune", "demo"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=home.env | {"XDG_CACHE_HOME": str(tmp_path / "cache")}, cwd=home.folder,
    ) as process:  # fmt: skip
        line = next((line for line in process.stderr if "as chosen" in line), "it has ended")
        children = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE_S)

    assert "decode" in line
    assert (process.returncode, out) == (130, "")
    assert not any(process_exists(child.pid) for child in children)
    assert list((tmp_path / "cache").rglob("tuned/*")) == []


@pytest.mark.slow
def test_what_was_tuned_is_used_by_serve_and_a_flag_goes_before_it(home, tmp_path):
    cache = str(tmp_path / "cache")
    done = home.run("tune", "demo", "--json", timeout=600, XDG_CACHE_HOME=cache)
    told = json.loads(done.out)
    (path,) = (tmp_path / "cache").rglob("tuned/*.json")
    # Whatever won here: another machine's winner, so that the test knows what to expect.
    kept = json.loads(path.read_text())
    kept["best"] = {**kept["start"], "n_ubatch": 128}
    path.write_text(json.dumps(kept))

    assert told["bouts"]
    assert all(bout["fault"] or len(bout["pairs"]) >= 2 for bout in told["bouts"])
    with home.serving("serve", "demo", "--port", "0", XDG_CACHE_HOME=cache) as live:
        (reason,) = [one for one in plan_of(live)["reasons"] if "edgellm tune" in one]
    with home.serving("serve", "demo", "--port", "0", "-ub", "64", XDG_CACHE_HOME=cache) as live:
        pinned = plan_of(live)["reasons"]

    assert f"micro-batch 128 ({kept['start']['n_ubatch']})" in reason
    assert any("-ub 64" in one for one in pinned)


def plan_of(live):
    return live.get("/edgellm/status").json()["models"][0]["plan"]


@needs_shared_models
def test_a_generative_and_an_embedding_model_are_served_together(home):
    mini = SHARED_MODELS / "all-minilm-l6-v2-q8_0.gguf"
    with home.serving("serve", "demo", "--port", "0", "--embedding", str(mini)) as live:
        body = {"model": "all-minilm-l6-v2-q8_0", "input": "Hello"}
        made = httpx2.post(
            live.url + "/v1/embeddings", json=body, trust_env=False, timeout=PATIENCE_S
        )
        said = httpx2.post(
            live.url + "/v1/chat/completions", json=HELLO, trust_env=False, timeout=30
        )
        (told,) = json.loads(home.run("ps", "--json").out)
        shown = home.run("ps").out
    assert len(made.json()["data"][0]["embedding"]) == 384
    assert said.status_code == 200
    assert [one["name"] for one in told["models"]] == ["demo", "all-minilm-l6-v2-q8_0"]
    assert "all-minilm-l6-v2-q8_0 (embedding)" in shown


@needs_shared_models
def test_an_embedding_model_may_be_served_alone_and_writes_no_text(home):
    mini = SHARED_MODELS / "all-minilm-l6-v2-q8_0.gguf"
    with home.serving("serve", str(mini), "--port", "0") as live:
        assert "/v1/embeddings" in live.out
        assert home.run("bench").code == 3
    done = home.run("run", str(mini), "Hello")
    assert done.code == 2
    assert "writes no text" in done.err


def decoded(home):
    return home.live.get("/edgellm/status").json()["models"][0]["n_decoded"]


def process_exists(pid):
    """Its parent may take a moment to be told."""
    import psutil

    deadline_s = time.monotonic() + PATIENCE_S
    while psutil.pid_exists(pid) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return psutil.pid_exists(pid)
