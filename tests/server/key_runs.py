"""A server with keys, at noon of one day, and clients that have one of them."""

import contextlib
import time
from datetime import datetime

import httpx2
import ollama
import openai
from server.server_fakes import live_server, served

from edgellm.keys import Key, digest_of
from edgellm.server.door.access import Access
from edgellm.server.watch.books import Clocks

HI = [{"role": "user", "content": "Hi"}]


def key(name, **may):
    return Key(name, digest_of(f"secret-of-{name}"), **{"admin": False, **may})


def signed(name):
    return {"authorization": f"Bearer secret-of-{name}"}


class Clock:
    """It stands still until it is to `run`."""

    def __init__(self):
        self._began_s, self._runs_from_s = time.monotonic(), None

    def run(self):
        self._runs_from_s = time.monotonic()

    def __call__(self):
        ran_s = 0.0 if self._runs_from_s is None else time.monotonic() - self._runs_from_s
        return self._began_s + ran_s


@contextlib.contextmanager
def serving(*keys, models=(), **more):
    with live_server(*(models or (served(),)), access=Access.of(keys=keys), **more) as live:
        live.clock = Clock()
        clocks = Clocks(live.clock, lambda: datetime(2026, 11, 28, 12))
        live.app.state.gateway.books._clocks = clocks
        yield live


@contextlib.contextmanager
def ollama_client(live, name):
    client = ollama.Client(host=live.url, headers=signed(name))
    with client._client:
        yield client


@contextlib.contextmanager
def openai_client(live, name):
    base = f"{live.url}/v1"
    with openai.OpenAI(base_url=base, api_key=f"secret-of-{name}", max_retries=0) as client:
        yield client


def ask(live, name, **more):
    with openai_client(live, name) as client:
        return client.chat.completions.create(model="tiny", messages=HI, **more)


def get(live, name, path):
    return httpx2.get(f"{live.url}{path}", headers=signed(name), timeout=30)
