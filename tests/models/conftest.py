"""A hub on this machine, and a cache of its own for each test."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import HubServer
from store_runs import DATA, REPO

from edgellm.models.fetching.hub import HuggingFaceHub
from edgellm.models.store import Store


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        running.add(REPO, "tiny-Q8_0.gguf", DATA)
        yield running


@pytest.fixture
def hub(server: HubServer) -> Iterator[HuggingFaceHub]:
    with HuggingFaceHub(
        endpoint=server.endpoint, token="", offline=False, stall_timeout_s=0.3
    ) as client:
        yield client


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "hub")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a tmpfs can't be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
