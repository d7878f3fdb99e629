import time

import httpx2
import openai
import pytest
from server.server_fakes import live_server, served, served_embedding, words


@pytest.fixture(scope="session")
def shared_server():
    with live_server(served(aliases=("small",)), served_embedding()) as live:
        yield live


@pytest.fixture
def live(shared_server):
    """One server for all tests that leave it as it was; the engines are wiped before each."""
    for model in shared_server.models:
        engine = model.engine
        engine.scripts = [words("Hello there")]
        engine.state, engine.failure = "ready", None
        engine.asked.clear()
        engine.cancelled.clear()
        engine.begun.clear()
        engine.n_cancelled = 0
    yield shared_server
    deadline_s = time.monotonic() + 20  # the client may have gone with the last byte
    while any(model.engine.n_open for model in shared_server.models):
        assert time.monotonic() < deadline_s, "a stream was left open"
        time.sleep(0.01)


@pytest.fixture
def engine(live):
    return live.models.find("tiny").engine


@pytest.fixture
def client(live):
    with openai.OpenAI(
        base_url=f"{live.url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture
def lenient(live):
    """Where the package's own types know less than OpenAI sends: base64, a chunk's null reason."""
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def http(live):
    with httpx2.Client(base_url=live.url, timeout=30) as http:
        yield http
