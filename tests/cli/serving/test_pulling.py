"""A download that a client asks for, from a hub on loopback."""

import asyncio

import pytest
from hub_server import HubServer, Stall

from edgellm import resources
from edgellm.cli.preparing.store import store_of
from edgellm.cli.serving.pulling import Puller
from edgellm.config import Config
from edgellm.errors import BadRequest, ModelNotFound

DEMO = resources.demo_model().read_bytes()


@pytest.fixture
def hub(monkeypatch):
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.add("org/repo", "m-Q8_0.gguf", DEMO)
        yield hub


@pytest.fixture
def config(tmp_path):
    return Config(cache_dir=str(tmp_path / "cache"))


def pulled(config, name):
    """The steps, and how often what is new was to be served."""
    n_refreshed = []

    async def refresh():
        n_refreshed.append(len(store_of(config).list()))

    async def scenario():
        return [step async for step in Puller(config, refresh).pull(name)]

    return asyncio.run(scenario()), n_refreshed


def test_it_tells_how_far_it_is_and_has_it_served_at_the_end(hub, config):
    steps, refreshed = pulled(config, "org/repo:Q8_0")
    assert steps[-1] == (len(DEMO), len(DEMO))
    assert refreshed == [1], "once it is here"


@pytest.mark.parametrize(
    ("name", "error"), [("./my.gguf", BadRequest), ("org/nowhere:Q8_0", ModelNotFound)]
)
def test_what_can_not_be_pulled_is_refused_in_its_own_words(hub, config, name, error):
    with pytest.raises(error):
        pulled(config, name)


def test_who_leaves_stops_the_download_and_what_came_stays(hub, config):
    hub.faults.append(Stall(len(DEMO) // 2, seconds=1))

    async def refresh():
        raise AssertionError("it is not here")

    async def scenario():
        steps = Puller(config, refresh).pull("org/repo:Q8_0")
        await anext(steps)
        await steps.aclose()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)  # the thread's end

    asyncio.run(scenario())
    assert store_of(config).list() == ()
    assert store_of(config).partials()
