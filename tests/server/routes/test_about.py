import asyncio

import httpx2
import pytest
from server.server_fakes import live_server, served, served_embedding

from edgellm import status
from edgellm.server.app import create_app
from edgellm.server.door.access import Access
from edgellm.server.door.terms import Terms
from edgellm.server.served import Models


def test_health_is_ok_only_when_every_model_is_ready(http, live, engine):
    assert (http.get("/health").status_code, http.get("/health").json()) == (200, {"status": "ok"})
    mini = live.models.find("mini").engine
    for state, words in (
        ("starting", "Loading model"), ("loading", "Loading model"),
        ("restarting", "Loading model"), ("failed", "Model failed"),
    ):  # fmt: skip
        mini.state = state
        response = http.get("/v1/health")
        assert response.status_code == 503
        error = response.json()["error"]
        assert (error["code"], error["message"], error["type"]) == (
            503, words, "unavailable_error",
        )  # fmt: skip


def test_a_server_without_models_is_not_healthy():
    with live_server() as live, httpx2.Client(base_url=live.url) as http:
        assert http.get("/health").status_code == 503
        assert "no model yet" in http.get("/").text


def test_health_needs_no_key_and_all_else_does():
    access = Access.of(keys=["k"])
    with (
        live_server(served(), access=access) as live,
        httpx2.Client(base_url=live.url) as http,
    ):
        assert http.get("/health").status_code == 200
        for path in ("/", "/metrics", "/edgellm/status", "/v1/models", "/nonsense"):
            assert http.get(path).status_code == 401
            assert http.get(path, headers={"x-api-key": "k"}).status_code in (200, 404)


def test_the_status_is_what_the_tui_decodes(http, live):
    shown = status.decode(http.get("/edgellm/status").content)
    assert shown.url == live.url
    assert [model.name for model in shown.models] == ["tiny", "mini"]
    assert [model.embedding for model in shown.models] == [False, True]


def test_the_root_says_who_is_there(http):
    text = http.get("/").text
    assert text.startswith("edgellm ")
    assert "at /edgellm/status, counters at /metrics" in text
    assert http.head("/").status_code == 200


def test_a_shutdown_is_asked_for_by_post():
    with (
        live_server(served(), served_embedding()) as live,
        httpx2.Client(base_url=live.url) as http,
    ):
        assert http.get("/edgellm/shutdown").status_code == 405
        assert http.post("/edgellm/shutdown").status_code == 415
        assert live.thread.is_alive()
        response = http.post("/edgellm/shutdown", json={})
        assert (response.status_code, response.json()) == (202, {"status": "stopping"})
        live.thread.join(60)
        assert not live.thread.is_alive()


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "via", "x-real-ip"])
def test_who_comes_by_a_proxy_of_this_machine_does_not_come_from_here(header):
    with live_server(served()) as live:
        asked = httpx2.post(
            f"{live.url}/edgellm/shutdown", json={}, headers={header: "203.0.113.9"}
        )
        assert asked.status_code == 403
        assert httpx2.get(f"{live.url}/health").status_code == 200


@pytest.mark.parametrize(
    ("peer", "keys", "code"),
    [
        ("192.168.1.9", (), 403), ("2001:db8::9", (), 403), ("fe80::1%eth0", (), 403),
        ("127.0.0.1", (), 202), ("::1", (), 202), ("192.168.1.9", ("k",), 202),
    ],
)  # fmt: skip
def test_a_server_that_is_open_to_others_is_not_stopped_by_them(peer, keys, code):
    app = create_app(Models(), terms=Terms(Access.of(keys=keys)))

    async def ask():
        transport = httpx2.ASGITransport(app, client=(peer, 4711))
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://localhost:8484"
        ) as http:
            return await http.post("/edgellm/shutdown", json={}, headers={"x-api-key": "k"})

    assert asyncio.run(ask()).status_code == code
    assert app.state.gateway.stopping.is_set() is (code == 202)
