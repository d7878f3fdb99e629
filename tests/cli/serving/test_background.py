import socket

import pytest
from server.server_fakes import hardware

from edgellm.cli.serving.background import BackgroundServer
from edgellm.cli.serving.serving import Instance
from edgellm.config import Config
from edgellm.errors import AddressInUse


def server_at(port):
    """Of no model at all."""
    config = Config(port=port, api_keys=("secret",))
    return BackgroundServer(Instance(config, hardware(), (), is_announced=False))


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
