import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import httpx2
import openai
import pytest
from server.server_fakes import HANG, FakeEngine, live_server, plan, served, words

from edgellm.chat.events import TextDelta
from edgellm.errors import AddressInUse, ConfigError
from edgellm.server.app import create_app
from edgellm.server.door.access import Access
from edgellm.server.door.terms import Terms
from edgellm.server.serve import Bind, _tcp_socket, serve
from edgellm.server.served import Models

PATIENCE_S = 30.0
HI = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}


def start(bind, **how):
    asyncio.run(serve(create_app(Models(), terms=Terms(how.pop("access", Access()))), bind, **how))


@pytest.mark.parametrize(
    ("bind", "private"),
    [
        (Bind(), True), (Bind("localhost"), True), (Bind("127.0.0.2"), True), (Bind("::1"), True),
        (Bind("0.0.0.0"), False), (Bind("::"), False), (Bind("192.168.1.5"), False),
        (Bind("box.lan"), False), (Bind("0.0.0.0", unix_path=Path("/run/x")), True),
    ],
)  # fmt: skip
def test_who_can_reach_an_address(bind, private):
    assert bind.is_private is private


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1"])
def test_others_can_reach_it_only_with_a_key(host):
    with pytest.raises(ConfigError, match="no API key") as raised:
        start(Bind(host, 0))
    assert raised.value.exit_code == 78


def test_with_a_key_or_an_explicit_word_it_listens_to_all():
    with live_server(served(), bind=Bind("0.0.0.0", 0), access=Access.of(keys=["k"])) as live:
        assert httpx2.get(f"http://127.0.0.1:{live.port}/v1/models").status_code == 401
    with live_server(served(), bind=Bind("0.0.0.0", 0), insecure=True) as live:
        assert httpx2.get(f"http://127.0.0.1:{live.port}/v1/models").status_code == 200


def test_a_taken_port_is_named_with_what_to_do():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUse, match=f"port {port} on 127.0.0.1 is taken") as raised:
            start(Bind(port=port))
    assert "--port" in raised.value.hint


@pytest.mark.parametrize("host", ["203.0.113.7", "no such name"])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(ConfigError):
        start(Bind(host, 0), insecure=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_is_written_goes_out_at_once(host):
    """And doesn't wait until the client has acknowledged what went before (Nagle's algorithm)."""

    async def scenario():
        accepted = asyncio.get_running_loop().create_future()
        sock = _tcp_socket(Bind(host, 0))
        server = await asyncio.start_server(lambda _, out: accepted.set_result(out), sock=sock)
        async with server:
            _, theirs = await asyncio.open_connection(*sock.getsockname())
            ours = await accepted
            is_on = ours.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for stream in (ours, theirs):
                stream.close()
            return is_on

    assert asyncio.run(scenario())


def test_a_unix_socket_serves_its_owner_only(tmp_path):
    path = tmp_path / "edgellm.sock"
    with live_server(served(), bind=Bind(unix_path=path)) as live:
        assert live.url == f"unix://{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        transport = httpx2.HTTPTransport(uds=str(path))
        with (
            httpx2.Client(transport=transport) as http,
            openai.OpenAI(base_url="http://edgellm/v1", api_key="none", http_client=http) as client,
        ):
            assert [model.id for model in client.models.list()] == ["tiny"]
        with pytest.raises(AddressInUse):
            start(Bind(unix_path=path))
    assert not path.exists()


def test_a_dead_servers_socket_is_taken_over_and_a_file_is_not(tmp_path):
    path = tmp_path / "edgellm.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with live_server(served(), bind=Bind(unix_path=path)):
        pass
    path.write_text("somebody's notes")
    with pytest.raises(ConfigError):
        start(Bind(unix_path=path))
    assert path.read_text() == "somebody's notes"


class Gated(FakeEngine):
    """Its answer goes on when it may."""

    def __post_init__(self):
        super().__post_init__()
        self.may_end = threading.Event()

    async def _play(self, script):
        async for event in super()._play(script):
            yield event
            await asyncio.to_thread(self.may_end.wait, PATIENCE_S)


def read_stream(live, into):
    """The thread, and what says that the first word has come."""
    heard = threading.Event()

    def read():
        with httpx2.stream(
            "POST", f"{live.url}/v1/chat/completions", json=HI, timeout=PATIENCE_S
        ) as got:
            text = ""
            for piece in got.iter_text():
                text += piece
                heard.set()
            into.append(text)

    thread = threading.Thread(target=read)
    thread.start()
    return thread, heard


def until_refused(url):
    stop_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < stop_s:
        try:
            httpx2.get(f"{url}/health")
        except httpx2.ConnectError:
            return True
    return False


def test_what_runs_is_finished_and_nothing_new_is_taken():
    engine = Gated(plan(), [words("a b c d e f g h")])
    with live_server(served(engine=engine), grace_s=PATIENCE_S) as live:
        texts = []
        reader, heard = read_stream(live, texts)
        assert heard.wait(PATIENCE_S)
        live.gateway.stopping.set()
        assert until_refused(live.url)
        assert engine.n_open == 1, "it still runs"
        engine.may_end.set()
        reader.join(PATIENCE_S)
    assert texts[0].endswith("data: [DONE]\n\n")
    assert engine.n_cancelled == 0


def test_after_the_grace_a_stream_is_told_and_its_request_cancelled():
    engine = FakeEngine(plan(), [[TextDelta("Hel"), HANG]])
    with live_server(served(engine=engine), grace_s=0.2) as live:
        texts = []
        reader, heard = read_stream(live, texts)
        assert heard.wait(PATIENCE_S)
        live.gateway.stopping.set()
        reader.join(PATIENCE_S)
    assert "the server is stopping" in texts[0]
    assert "[DONE]" not in texts[0]
    assert engine.n_cancelled == 1


def test_after_the_grace_a_request_without_a_first_token_is_503():
    engine = FakeEngine(plan(), [[HANG]])
    with live_server(served(engine=engine), grace_s=0.2) as live:
        answers = []

        def ask():
            answers.append(
                httpx2.post(f"{live.url}/v1/chat/completions", json=HI, timeout=PATIENCE_S)
            )

        asking = threading.Thread(target=ask)
        asking.start()
        assert engine.begun.wait(PATIENCE_S)
        live.gateway.stopping.set()
        asking.join(PATIENCE_S)
    assert answers[0].status_code == 503
    assert engine.n_cancelled == 1


def test_a_client_that_does_not_read_holds_up_nobodys_end():
    engine = FakeEngine(plan(), [[*[TextDelta("x" * 1000)] * 20_000, HANG]])
    with live_server(served(engine=engine), grace_s=0.1) as live:
        body = json.dumps(HI).encode()
        with socket.create_connection(("127.0.0.1", live.port)) as deaf:
            deaf.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            assert engine.begun.wait(PATIENCE_S)
            live.gateway.stopping.set()
            live.thread.join(PATIENCE_S)  # its client takes nothing for a minute and longer
            assert not live.thread.is_alive()
    assert engine.n_cancelled == 1


PROGRAM = textwrap.dedent("""
    import asyncio, sys
    sys.path[:0] = ["tests"]
    from server.server_fakes import SlowEngine, plan, served, words
    from edgellm.server.app import create_app
    from edgellm.server.serve import Bind, serve
    from edgellm.server.served import Models

    engine = SlowEngine(plan(), [words("a b c d e f")])
    app = create_app(Models([served(engine=engine)]))
    say = lambda url: print(url, flush=True)
    asyncio.run(serve(app, Bind(port=0), on_started=say))
    print("engines may stop now", flush=True)
""")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_streams_end_and_the_program_go_on(number):
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, cwd=root
    ) as program:
        try:
            url = program.stdout.readline().strip()
            with httpx2.stream(
                "POST", f"{url}/v1/chat/completions", json=HI, timeout=PATIENCE_S
            ) as response:
                os.kill(program.pid, number)
                text = "".join(response.iter_text())
            assert program.stdout.readline() == "engines may stop now\n"
            assert program.wait(PATIENCE_S) == 0
        finally:
            program.kill()
    assert text.endswith("data: [DONE]\n\n")


def test_the_gateway_is_small_and_imports_no_engine():
    program = textwrap.dedent("""
        import sys
        import edgellm.server.app, edgellm.server.serve, uvicorn.protocols.http.h11_impl
        from edgellm.chat.messages import Message
        from edgellm.chat.templating.template import ChatTemplate
        ChatTemplate(None).render([Message("user", "x")])
        import psutil
        banned = {"numpy", "llama_cpp", "huggingface_hub", "textual", "llguidance", "typer"}
        print(psutil.Process().memory_info().rss // 2**20, *(banned & set(sys.modules)))
    """)
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(shown) == 1, f"imported {shown[1:]}"
    assert int(shown[0]) <= 100


def test_it_says_that_its_port_will_be_anybodys_before_it_is():
    places, taken = [], []

    def closing():
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", int(places[0].rpartition(":")[2])))
            except OSError:
                taken.append(True)

    app = create_app(Models())

    def started(url):
        places.append(url)
        app.state.gateway.stopping.set()

    asyncio.run(serve(app, Bind(port=0), on_started=started, on_closing=closing))
    assert taken == [True]


def test_a_socket_that_another_server_took_while_we_wound_up_is_left_to_it(tmp_path):
    path = tmp_path / "s"
    with live_server(served(), bind=Bind(unix_path=path)):
        path.rename(tmp_path / "ours")  # its inode is not given to another file
        path.touch()
    assert path.exists()


def test_localhost_is_one_place():
    with live_server(served(), bind=Bind("localhost", 0)) as live:
        assert live.url.startswith("http://127.0.0.1:")


SLOW_PROGRAM = PROGRAM.replace('SlowEngine(plan(), [words("a b c d e f")])', "ENGINE").replace(
    "ENGINE", 'FakeEngine(plan(), [[*words("a")[:-1], HANG]])'
)


def test_who_ends_a_server_hears_what_still_runs_and_may_end_that_too():
    program = SLOW_PROGRAM.replace("import SlowEngine", "import HANG, FakeEngine").replace(
        "on_started=say", 'on_started=say, on_waiting=lambda n: print("waits", n, flush=True)'
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root
    ) as server:
        try:
            url = server.stdout.readline().strip()
            with httpx2.stream(
                "POST", f"{url}/v1/chat/completions", json=HI, timeout=PATIENCE_S
            ) as answer:
                os.kill(server.pid, signal.SIGINT)
                assert server.stdout.readline() == "waits 1\n"
                os.kill(server.pid, signal.SIGINT)
                text = "".join(answer.iter_text())
            assert server.wait(PATIENCE_S) == 0
        finally:
            server.kill()
    assert '"error"' in text
