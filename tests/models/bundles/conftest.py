from pathlib import Path

import pytest
from bundle_runs import filled
from bundle_signers import listed, made_key, public

from edgellm.models.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return filled(tmp_path / "hub")


@pytest.fixture
def there(tmp_path: Path) -> Store:
    return Store(tmp_path / "there")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return made_key(tmp_path, "alice key")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return made_key(tmp_path, "mallory")


@pytest.fixture
def signers(tmp_path: Path, key: Path) -> Path:
    return listed(tmp_path / "allowed signers", f"alice@example.org {public(key)}")
