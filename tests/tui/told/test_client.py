"""The screen's client beside a peer that is none of ours."""

import asyncio

import pytest
from cli.serving.announcing import http_server, without_end

from edgellm.errors import WorkerDied
from edgellm.tui.told.client import Server
from edgellm.tui.told.questions import Message


def test_a_refusal_without_an_end_is_not_waited_for():
    async def ask(url):
        server = Server(url)
        try:
            await anext(server.answer("", (Message("user", "Hello"),)))
        finally:
            await server.aclose()

    with http_server(without_end(b"500 No")) as url, pytest.raises(WorkerDied, match="whole"):
        asyncio.run(ask(url))
