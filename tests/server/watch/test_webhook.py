import asyncio
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from server.server_fakes import served

from edgellm.errors import ConfigError
from edgellm.meter.health import Finding, Health
from edgellm.server.watch.webhook import Webhook

ILL = Health("degraded", Finding("thermal", "too hot"), 3.0)


@contextmanager
def listener(*codes):
    """On the loopback; answers with these codes, the last one for ever."""
    left, heard = list(codes), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["content-length"])
            heard.append((self.headers["content-type"], json.loads(self.rfile.read(length))))
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tell(url, health=ILL):
    said = []

    async def scenario():
        hook = Webhook(url, said.append, pause_s=0.01)
        hook.tell(served("tiny"), health)
        await asyncio.gather(*hook._posts)

    asyncio.run(scenario())
    return said


def test_a_change_is_posted_as_json():
    with listener(204) as (url, heard):
        assert tell(url) == []
    [(kind, body)] = heard
    assert kind == "application/json"
    assert body.pop("at").endswith("+00:00")
    assert body == {"model": "tiny", "state": "degraded", "cause": "thermal", "message": "too hot"}


def test_a_cure_is_told_without_a_cause():
    with listener(200) as (url, heard):
        tell(url, Health("ok", None, 9.0))
    assert (heard[0][1]["state"], heard[0][1]["cause"]) == ("ok", None)


def test_a_listener_that_stumbles_is_asked_again():
    with listener(500, 503, 200) as (url, heard):
        assert tell(url) == []
    assert len(heard) == 3


def test_one_that_never_takes_it_is_given_up_and_that_is_said():
    with listener(500) as (url, heard):
        [line] = tell(url)
    assert len(heard) == 3
    host = url.removeprefix("http://").removesuffix("/hook")
    assert line == f"health_webhook at {host} could not be told: it answered 500"


def test_nobody_there_is_said_too():
    [line] = tell("http://me:secret@127.0.0.1:9/T0/secret?key=secret")
    assert line.startswith("health_webhook at 127.0.0.1:9 could not be told")
    assert "secret" not in line


@pytest.mark.parametrize(
    "url",
    ["http://", "http://x:abc", "http://x:99999", "http://[::1", "http://x/a\n", "http://:80/x"],
)
def test_what_is_no_url_is_refused_before_anything_is_to_be_told(url):
    with pytest.raises(ConfigError, match="health_webhook is no URL"):
        Webhook(f"{url}/secret", print)
