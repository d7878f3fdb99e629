"""What `import edgellm` offers."""

import asyncio
import inspect
import os
import re
import socket
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import psutil
import pytest
from server.server_fakes import FakeEngine, SlowEngine, live_server, served, words

import edgellm
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Plan

NAMES = {
    "EdgellmError", "achat", "chat", "explain", "list_models", "plan", "probe", "pull", "serve",
    "stream",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def own_home(tmp_path_factory):
    """No setting and no cache of whoever runs the tests, and no count of theirs."""
    home = str(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("EDGELLM_", "HF_", "MODEL_", "MODELSCOPE_", "XDG_")):
                patch.delenv(name)
        patch.setenv("HOME", home)
        patch.setenv("XDG_RUNTIME_DIR", home)
        yield


@pytest.fixture(scope="module")
def server():
    with edgellm.serve("demo") as server:
        yield server


def test_there_are_ten_names_and_all_are_documented():
    assert set(edgellm.__all__) == NAMES
    for name in NAMES:
        assert f"{name}(" in edgellm.__doc__ or name in edgellm.__doc__.split()
        assert inspect.getdoc(getattr(edgellm, name))
        assert name in dir(edgellm)


def test_what_the_settings_say_of_a_model_is_heeded_whole(tmp_path, monkeypatch):
    path = tmp_path / "config.toml"
    path.write_text("[models.demo]\ndraft = 'demo'\nctx = 256\nparallel = 2\n")
    monkeypatch.setenv("EDGELLM_CONFIG", str(path))
    planned = edgellm.plan("demo")
    assert planned.draft is not None
    with edgellm.serve("demo") as server:
        assert server.plan.draft is not None
        assert (server.plan.n_ctx_seq, planned.n_ctx_seq) == (256, 256)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nosuch"):
        _ = edgellm.nosuch


def test_importing_it_imports_nothing_else():
    program = "import sys, edgellm; print([m for m in sys.modules if m.startswith('edgellm.')])"
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True)

    assert done.stdout.strip() == "[]"


def test_the_functions_keep_their_names_when_rooms_are_imported():
    """`edgellm.probe` and `edgellm.chat` are packages, too."""
    program = (
        "import edgellm, edgellm.chat.events, edgellm.probe.hardware\n"
        "from edgellm.chat.templating import template\n"
        "print(callable(edgellm.chat), callable(edgellm.probe), template.__name__)"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True)

    assert done.stdout.split() == ["True", "True", "edgellm.chat.templating.template"]


@pytest.mark.parametrize("keys", ["", [""], ("secret", " ")])
def test_an_empty_api_key_opens_no_server(keys):
    with pytest.raises(edgellm.EdgellmError, match="api_keys"):
        edgellm.serve("demo", host="0.0.0.0", api_keys=keys)


def test_a_machine_is_probed_and_a_plan_explained():
    hardware = edgellm.probe()
    plan = edgellm.plan("qwen3:0.6b", hardware=hardware, ctx=2048)

    assert isinstance(hardware, Hardware)
    assert isinstance(plan, Plan)
    assert plan.n_ctx_seq == 2048
    assert "qwen3:0.6b" in edgellm.explain(plan, hardware)


def test_what_goes_wrong_is_an_edgellm_error_with_a_hint():
    with pytest.raises(edgellm.EdgellmError) as caught:
        edgellm.plan("nosuch:1b")
    assert caught.value.hint


@pytest.mark.model
def test_a_server_answers(server):
    answer = edgellm.chat("Hello!", server=server, temperature=0)

    assert "demo model" in str(answer)
    assert (answer.reason, answer.n_output > 5) == ("stop", True)


@pytest.mark.model
def test_an_answer_may_be_awaited_while_the_loop_goes_on(server):
    async def two():
        return await asyncio.gather(
            server.achat("Hello!", temperature=0), edgellm.achat("Hello!", server=server.url)
        )

    first, second = asyncio.run(two())
    assert "demo" in first.text
    assert second.text


def test_an_answer_that_is_no_longer_awaited_ends_in_the_model():
    engine = SlowEngine(scripts=[words(" ".join(["word"] * 2000))])  # for a hundred seconds

    async def given_up(url):
        asking = asyncio.create_task(edgellm.achat("Hello", server=url))
        assert await asyncio.to_thread(engine.begun.wait, 20)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        return await asyncio.to_thread(engine.cancelled.wait, 20)

    with live_server(served(engine=engine)) as live:
        assert asyncio.run(given_up(live.url))


def test_what_a_message_says_beyond_its_role_and_content_arrives():
    engine = FakeEngine()
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Look!"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "a cat"},
    ]
    with live_server(served(engine=engine)) as live:
        assert edgellm.chat(messages, server=live.url).text == "Hello there"
    ((prompt, _),) = engine.asked
    assert "look" in prompt


def test_a_message_that_the_server_does_not_take_is_an_edgellm_error():
    with live_server(served(engine=FakeEngine())) as live:
        for messages in ([{"content": "Hi"}], ["Hi"], {"role": "user"}):
            with pytest.raises(edgellm.EdgellmError):
                edgellm.chat(messages, server=live.url)


@pytest.mark.model
def test_an_answer_may_be_streamed(server):
    pieces = list(server.stream("Hello!", temperature=0, max_tokens=8))

    assert len(pieces) > 1
    assert "".join(pieces) == server.chat("Hello!", temperature=0, max_tokens=8).text


@pytest.mark.model
def test_a_conversation_may_be_given_as_messages(server):
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello!"},
    ]
    assert server.chat(messages, max_tokens=4).reason == "length"


@pytest.mark.model
def test_the_server_speaks_openais_api(server):
    assert server.status().models[0].name == server.model == "demo"
    listed = httpx2.get(f"{server.url}/v1/models", trust_env=False).json()
    assert listed["data"][0]["id"] == "demo"


@pytest.mark.model
def test_a_server_with_a_key_answers_its_own_caller_and_nobody_without_it():
    with edgellm.serve("demo", api_keys=["secret"]) as server:
        assert server.chat("Hello!", max_tokens=4).n_output == 4
        assert server.status().models[0].name == "demo"
        assert httpx2.get(f"{server.url}/v1/models", trust_env=False).status_code == 401


@pytest.mark.model
def test_the_example_of_the_docstring_runs(capsys):
    example = re.search(r"\n(    import edgellm\n.*?)\n\n`", edgellm.__doc__, re.DOTALL)[1]
    exec(compile(textwrap.dedent(example), "edgellm.__doc__", "exec"), {})

    told = capsys.readouterr().out
    assert "qwen3:0.6b" in told.partition("\n")[0]
    assert not told.endswith("\n")  # the streamed story is the last


@pytest.mark.model
def test_after_its_block_a_server_is_gone():
    with edgellm.serve("demo") as server:
        url = server.url
    with pytest.raises(edgellm.EdgellmError, match="no server at"):
        edgellm.chat("Hello?", server=url)


@pytest.mark.model
def test_a_server_says_of_itself_what_it_serves_where_and_whether_it_does():
    with edgellm.serve("demo") as server:
        assert str(server) == f"<edgellm server of demo at {server.url}>"
    assert str(server) == "<edgellm server of demo, which has ended>"


@pytest.mark.model
def test_whoever_takes_the_port_of_a_server_that_ended_is_sent_nothing(monkeypatch):
    monkeypatch.setenv("EDGELLM_API_KEY", "of others")
    with edgellm.serve("demo", api_keys=["secret"]) as server:
        port = int(server.url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)) as stranger:
        for ask in (server.status, lambda: server.chat("Hello?"), lambda: [*server.stream("Hi")]):
            with pytest.raises(edgellm.EdgellmError, match="demo is no longer served"):
                ask()
        stranger.settimeout(0.2)
        with pytest.raises(TimeoutError):
            stranger.accept()


@pytest.mark.model
def test_a_model_ends_with_its_server_though_two_stop_it_amid_an_answer():
    server = edgellm.serve("demo")
    worker = psutil.Process(server.status().models[0].pid)
    answer = server.stream("Once upon a time", n=8, max_tokens=900, ignore_eos=True)
    next(answer)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.stop)
        time.sleep(0.05)
        pool.submit(server.stop).result()
        first.result()
    assert not worker.is_running()
    answer.close()


@pytest.mark.model
def test_a_port_that_is_taken_is_told(server):
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(edgellm.EdgellmError, match="taken"):
        edgellm.serve("demo", port=port)


def test_what_is_of_the_wrong_kind_is_an_edgellm_error():
    for goal in ({"ctx": "abc"}, {"ctx": 1.5}, {"ts": [1]}, {"ngl": -7}, {"itl": 0}):
        with pytest.raises(edgellm.EdgellmError, match="it must be"):
            edgellm.plan("demo", **goal)


def test_what_is_no_name_no_message_and_no_server_is_an_edgellm_error():
    for ask in (
        lambda: edgellm.plan(5),
        lambda: edgellm.serve(None),
        lambda: edgellm.pull(b"demo"),
        lambda: edgellm.chat(5, server="http://127.0.0.1:9"),
        lambda: edgellm.chat("Hi", server=8484),
    ):
        with pytest.raises(edgellm.EdgellmError, match=r"name a model|nothing to say|no server"):
            ask()


def test_a_path_names_a_model():
    path = edgellm.pull("demo")
    assert edgellm.plan(path).file == edgellm.plan(str(path)).file


def test_the_demo_is_there_without_a_download():
    assert edgellm.pull("demo").is_file()


def test_nothing_downloaded_is_an_empty_list(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))

    assert edgellm.list_models() == ()
