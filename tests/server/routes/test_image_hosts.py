"""Against a web server on loopback, which notes what it is asked for."""

import asyncio
import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pictures import data_url, png

from edgellm.chat.pictures import MAX_BYTES
from edgellm.errors import BadRequest, ModelNotFound
from edgellm.server.anthropic.requests import message_request
from edgellm.server.door.bodies import Bodies
from edgellm.server.envelope import HTTPProblem
from edgellm.server.openai.requests import chat_request
from edgellm.server.responses.requests import response_request
from edgellm.server.responses.store import Store
from edgellm.server.routes.image_hosts import ImageHosts
from edgellm.server.served import Models
from edgellm.units import MIB

RED = png()


class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        packed = gzip.compress(bytes(MAX_BYTES + 1))
        body = {"/red.png": RED, "/huge": bytes(MAX_BYTES + 1), "/packed": packed}.get(self.path)
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/red.png")
        else:
            self.send_response(404 if body is None else 200)
        if self.path == "/packed":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *args):
        pass


@pytest.fixture
def web():
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def here(web):
    return f"127.0.0.1:{web.server_port}"


def inlined(hosts, *urls, as_string=False, room_bytes=64 * MIB):
    images = [url if as_string else {"url": url} for url in urls]
    content = [{"type": "image_url", "image_url": image} for image in images]
    return fetched(hosts, {"messages": [{"role": "user", "content": content}]}, room_bytes)


def fetched(hosts, body, room_bytes=64 * MIB, check_model=str):
    async def run():
        with Bodies(room_bytes).hold() as hold:
            return await ImageHosts(hosts).inlined(json.dumps(body).encode(), hold, check_model)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("model", "words"),
    [({"model": "other"}, "'other'"), ({}, "no generative"), ({"model": None}, "no generative")],
)
def test_for_a_model_that_may_not_be_asked_nothing_is_fetched(web, here, model, words):
    part = {"type": "image_url", "image_url": {"url": f"http://{here}/red.png"}}
    body = model | {"messages": [{"role": "user", "content": [part]}]}
    with pytest.raises(ModelNotFound, match=words):
        fetched([here], body, check_model=Models().generative)
    assert web.asked == []


def test_for_a_model_that_is_no_name_nothing_is_fetched(web, here):
    part = {"type": "image_url", "image_url": {"url": f"http://{here}/red.png"}}
    body = fetched([here], {"model": 5, "messages": [{"role": "user", "content": [part]}]})
    assert web.asked == []
    with pytest.raises(BadRequest, match="model"):
        chat_request(body, "__mark__")


@pytest.mark.parametrize("as_string", [True, False])
def test_a_picture_of_a_listed_host_is_fetched(web, here, as_string):
    body = inlined([here], f"http://{here}/red.png", as_string=as_string)
    assert chat_request(body, "__mark__").params.pictures.files == (RED,)
    assert web.asked == ["/red.png"]


def test_one_in_a_message_of_anthropics_is_fetched_too_and_in_a_tools_result(web, here):
    image = {"type": "image", "source": {"type": "url", "url": f"http://{here}/red.png"}}
    paper = image | {"type": "document"}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [image]}
    body = fetched(
        [here],
        {"max_tokens": 1, "messages": [{"role": "user", "content": [image, result]}]},
    )
    asked = message_request(body, "__mark__")
    assert asked.chat.params.pictures.files == (RED, RED)
    web.asked.clear()
    fetched([here], {"messages": [{"role": "user", "content": [paper]}]})
    assert web.asked == []


def test_one_in_a_responses_input_is_fetched_too_and_in_a_tools_output(web, here):
    part = {"type": "input_image", "image_url": f"http://{here}/red.png"}
    told = {"type": "function_call_output", "call_id": "a", "output": [part]}
    body = fetched([here], {"input": [{"role": "user", "content": [part]}, told]})
    asked = response_request(body, "__mark__", Store())
    assert asked.chat.params.pictures.files == (RED, RED)


def test_by_default_nothing_is_fetched(web, here):
    body = inlined([], f"http://{here}/red.png")
    assert web.asked == []
    with pytest.raises(BadRequest, match="not fetched"):
        chat_request(body, "__mark__")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:{port}/red.png",
        "http://127.0.0.1/red.png",
        "http://user@127.0.0.1:{port}/red.png",
        "ftp://127.0.0.1:{port}/red.png",
        "file://127.0.0.1:{port}/red.png",
        "http://127.0.0.1:{port}.example.com/red.png",
        "http://example.com:{port}/127.0.0.1:{port}/red.png",
        "http://[::1/red.png",
    ],
)
def test_a_host_counts_by_its_exact_name_and_port(web, here, url):
    url = url.format(port=web.server_port)
    assert json.loads(inlined([here], url))["messages"][0]["content"][0]["image_url"]["url"] == url
    assert web.asked == []


def test_a_redirect_is_not_followed(web, here):
    with pytest.raises(BadRequest, match=r"messages\[0\].content\[0\]: its host answered 302"):
        inlined([here], f"http://{here}/elsewhere")
    assert web.asked == ["/elsewhere"]


def test_what_cannot_be_had_is_the_requests_own_error_and_named(web, here):
    with pytest.raises(BadRequest, match="answered 404") as caught:
        inlined([here], data_url(RED), f"http://{here}/none.png")
    assert caught.value.param == "messages[0].content[1]"
    with pytest.raises(BadRequest, match=f"more than {MAX_BYTES} bytes"):
        inlined([here], f"http://{here}/huge")
    with pytest.raises(BadRequest, match="could not be reached"):
        inlined(["127.0.0.1:9"], "http://127.0.0.1:9/red.png")


def test_a_packed_answer_is_not_unpacked(web, here):
    body = inlined([here], f"http://{here}/packed")
    assert len(body) < MAX_BYTES // 100
    with pytest.raises(BadRequest):
        chat_request(body, "__mark__")


def test_pictures_that_are_fetched_count_with_the_bodies(web, here):
    with pytest.raises(HTTPProblem, match="too many") as caught:
        inlined([here], f"http://{here}/red.png", room_bytes=len(RED))
    assert caught.value.http_status == 503


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"image_url":1}', b'{"messages":1,"a":"image_url"}',
     b'{"messages":[{"content":[1,{"image_url":7}]}]}', b'["image_url"]' * 2],
)  # fmt: skip
def test_what_is_no_request_stays_as_it_is(body):
    async def run():
        with Bodies(MIB).hold() as hold:
            return await ImageHosts(["example.com"]).inlined(body, hold, str)

    assert asyncio.run(run()) == body
