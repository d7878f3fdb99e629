"""Whose certificate the commands believe, of real servers."""

import asyncio

import httpx2
import pytest
from certificates import AUTHORITY, certificate
from cli.serving.announcing import announced
from server.server_fakes import live_server, served

from edgellm.cli.serving.client import Client
from edgellm.cli.serving.trust import transport_for, trust_for
from edgellm.errors import ConfigError, EdgellmError, NotServing
from edgellm.server.serve import Bind


@pytest.fixture
def live():
    with live_server(served(), bind=Bind(port=0, tls=certificate("box"))) as live:
        yield live


def asked(url):
    with Client(url, lambda: None) as client:
        return client.status().models[0].name


def test_where_there_is_no_tls_no_authority_is_read(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    assert trust_for("http://127.0.0.1:1") is False
    assert trust_for("unix:///run/e.sock") is False
    assert transport_for("http://127.0.0.1:1") is None


def test_ones_own_server_is_believed_by_the_certificate_that_it_has_left(live):
    """Whatever name it was made for, by every spelling of its place."""
    with announced(live.url, certificate=certificate("box").own):
        assert asked(live.url) == "tiny"
        assert asked(f"https://localhost:{live.port}") == "tiny"


def test_who_has_another_certificate_in_its_place_is_not_believed(live):
    """Though both are signed by one authority."""
    with (
        announced(live.url, certificate=certificate("server").own),
        pytest.raises(NotServing, match=r"can't be believed: .*local issuer"),
    ):
        asked(live.url)


def test_anybody_elses_has_to_be_signed_by_an_authority_that_is_known(monkeypatch):
    with live_server(served(), bind=Bind(port=0, tls=certificate())) as live:
        with pytest.raises(NotServing, match="can't be believed") as raised:
            asked(live.url)
        assert "SSL_CERT_FILE" in raised.value.hint
        monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
        assert asked(live.url) == "tiny"


def test_a_name_that_the_certificate_lacks_is_said(live, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    with pytest.raises(NotServing, match=r"not valid for '127.0.0.1'"):
        asked(live.url)


def test_authorities_that_cant_be_read_are_said(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/authority.pem")
    with pytest.raises(ConfigError, match="can't be read: No such file") as raised:
        trust_for("https://box.lan")
    assert "SSL_CERT_FILE" in raised.value.hint


def test_each_side_says_what_the_other_speaks():
    with live_server(served()) as live:
        with pytest.raises(NotServing, match="speaks no TLS") as raised:
            asked(live.url.replace("http:", "https:"))
        assert "http://" in raised.value.hint
    with (
        live_server(served(), bind=Bind(port=0, tls=certificate())) as live,
        pytest.raises(EdgellmError, match="ask for https://"),
    ):
        asked(live.url.replace("https:", "http:"))


def test_a_screen_believes_the_same(live):
    with announced(live.url, certificate=certificate("box").own):
        transport = transport_for(live.url)

    async def asked():
        async with httpx2.AsyncClient(transport=transport) as client:
            return await client.get(f"{live.url}/health")

    assert asyncio.run(asked()).status_code == 200
