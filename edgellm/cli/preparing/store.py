"""Where this configuration's models lie. Apart from resolve.py: Tab can't wait for its imports."""

from edgellm.config import Config
from edgellm.files import path_of
from edgellm.models.store import Store


def store_of(config: Config) -> Store:
    return Store(path_of(config.cache_dir) if config.cache_dir else None)
