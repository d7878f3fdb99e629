import os
import subprocess
import sys

import pytest
from cli.serving.announcing import announced, http_server
from server.server_fakes import live_server, served

from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.serving.private import _Teller, ignored, server_with
from edgellm.config import Config
from edgellm.errors import ModelNotFound
from edgellm.server.door.access import Access


def test_a_server_that_could_not_be_asked_is_passed_over_aloud(capsys):
    with (
        http_server(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n") as url,
        announced(url),
        pytest.raises(ModelNotFound),
        server_with("./nowhere.gguf", Config(), ModelOptions()),
    ):
        pass
    assert capsys.readouterr().err.startswith(f"passed over: no edgellm at {url}")


def test_what_is_ignored_is_said_with_a_way_out():
    text = ignored(("--ctx 512", "-ngl 3"), "my model.gguf", "http://127.0.0.1:8484")

    assert "--ctx 512, -ngl 3 are ignored: http://127.0.0.1:8484 serves my model.gguf" in text
    assert "(edgellm stop --host http://127.0.0.1:8484)" in text
    assert "(edgellm serve 'my model.gguf' --ctx 512 -ngl 3 --port 0)" in text
    assert "--ctx 9 is ignored" in ignored(("--ctx 9",), "demo", "http://x")


def test_what_the_server_tells_meanwhile_comes_after_the_answer_and_once(capsys):
    teller = _Teller()
    teller.say("loading")
    with teller.silent():
        teller.say("demo is degraded: 0.4 tok/s measured, 12 expected")
        teller.say("demo is well")
        teller.say("demo is degraded: 3 tok/s measured, 12.5 expected")
        assert capsys.readouterr().err == "loading\n"
    teller.say("stopping")
    assert capsys.readouterr().err == (
        "demo is well\ndemo is degraded: 3 tok/s measured, 12.5 expected\nstopping\n"
    )


@pytest.mark.model
def test_a_socket_is_heard_where_temporary_files_lie_deep(tmp_path):
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    program = (
        "from edgellm.cli.flags.model_options import ModelOptions\n"
        "from edgellm.cli.serving.client import Client\n"
        "from edgellm.cli.serving.private import private_server\n"
        "from edgellm.config import Config\n"
        "with private_server('demo', Config(), ModelOptions()) as (url, name):\n"
        "    with Client(url) as client:\n"
        "        print(name, client.status().models[0].state)\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", program),
        env={**os.environ, "TMPDIR": str(deep)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "demo ready\n", done.stderr
    assert [*deep.iterdir()] == []


def test_one_that_wants_a_key_is_told_before_a_copy_is_loaded(capsys):
    with (
        live_server(served(), access=Access.of(keys=["k"])) as locked,
        announced(locked.url),
        pytest.raises(ModelNotFound),
        server_with("./nowhere.gguf", Config(), ModelOptions()),
    ):
        pass
    said = capsys.readouterr().err
    assert said.startswith(f"passed over: {locked.url}")
    assert "set EDGELLM_API_KEY" in said
