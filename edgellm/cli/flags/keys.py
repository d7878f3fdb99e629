"""Which API key a command sends."""

import os

from edgellm.cli.flags.addresses import hears
from edgellm.cli.serving import state
from edgellm.config import load_config


def key_for(url: str) -> str | None:
    """EDGELLM_API_KEY; without it, a server that this user runs here gets the first key of their
    configuration, which is what it asks for. Nobody else is ever sent that one.

    Raises ConfigError.
    """
    if named := os.environ.get("EDGELLM_API_KEY"):
        return named
    if not any(hears(server.url, url) for server in state.running()):
        return None
    return load_config(os.environ, {}).own_key()
