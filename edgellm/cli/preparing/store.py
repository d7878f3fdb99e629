"""Where this configuration's models lie. Apart from resolve.py: Tab can't wait for its imports."""

from pathlib import Path

from edgellm.config import Config
from edgellm.models.store import Store


def store_of(config: Config) -> Store:
    return Store(Path(config.cache_dir).expanduser() if config.cache_dir else None)
