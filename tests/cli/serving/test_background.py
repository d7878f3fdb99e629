import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from server.server_fakes import hardware

from edgellm.cli.serving.background import BackgroundServer
from edgellm.cli.serving.serving import Instance
from edgellm.config import Config
from edgellm.errors import AddressInUse


def server_at(port, **changes):
    """Of no model at all."""
    config = Config(port=port, api_keys=("secret",))
    return BackgroundServer(Instance(config, hardware(), (), is_announced=False, **changes))


def test_a_server_has_its_key_as_long_as_it_listens():
    server = server_at(0).start()
    assert (server.is_listening, server.api_key) == (True, "secret")
    server.stop()
    assert (server.is_listening, server.api_key) == (False, None)


def test_a_server_that_could_not_begin_keeps_no_key_for_whoever_listens_there():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = server_at(taken.getsockname()[1])
        with pytest.raises(AddressInUse):
            server.start()
    assert (server.is_listening, server.api_key) == (False, None)


@pytest.mark.parametrize("between_s", [0.0, 0.15])
def test_all_who_stop_a_server_wait_until_it_has_wound_up(between_s):
    begun, ended = [], []

    async def errand(fleet):
        try:
            begun.append(True)
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.3)
            ended.append(True)

    server = server_at(0, errand=errand).start()
    while not begun:
        time.sleep(0.01)

    def stop(after_s):
        time.sleep(after_s)
        server.stop()
        return bool(ended)

    with ThreadPoolExecutor(3) as pool:
        assert [*pool.map(stop, (0.0, between_s, 2 * between_s))] == [True] * 3
    assert server.failure is None
    server.stop()  # once more, and there is nothing to do
