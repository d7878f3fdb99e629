"""A model of one small file is fetched, and what is asked and left by that."""

import random
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from hub_server import HubServer

from edgellm.models.fetching.hub import HuggingFaceHub, Repository
from edgellm.models.fetching.policy import DownloadPolicy
from edgellm.models.repo_files import ModelFiles, choose_files
from edgellm.models.store import Store

REPO = "org/tiny-GGUF"
FAST = DownloadPolicy(first_pause_s=0.001, max_tries=3)
DATA = random.Random(3).randbytes(600_000)


def look(hub: HuggingFaceHub, quant: str | None = None) -> tuple[Repository, ModelFiles]:
    repository = hub.list_files(REPO)
    return repository, choose_files(repository.listing, quant)


def fetch(store: Store, hub: HuggingFaceHub, quant: str | None = None, **options: object) -> Path:
    given: dict[str, object] = {"policy": FAST} | options
    return store.fetch(hub, *look(hub, quant), **given)  # type: ignore[arg-type]


def ranges(server: HubServer) -> list[str | None]:
    return [request.range for request in server.requests if request.path.startswith("/cdn/")]


def leftovers(store: Store) -> list[str]:
    return [
        path.name for path in store.root.rglob("*") if "part" in path.name or ".new" in path.name
    ]


FETCH_SLOWLY = """
    import sys
    from pathlib import Path
    from edgellm.models.fetching.policy import DownloadPolicy
    from edgellm.models.fetching.hub import HuggingFaceHub
    from edgellm.models.repo_files import choose_files
    from edgellm.models.store import Store

    endpoint, root, repo, rate = sys.argv[1:]
    hub = HuggingFaceHub(endpoint=endpoint, token="", offline=False)
    repository = hub.list_files(repo)
    policy = DownloadPolicy(limit_rate_bytes_s=float(rate) or None)
    path = Store(Path(root)).fetch(hub, repository, choose_files(repository.listing), policy=policy)
    print(path)
"""


def fetching_process(server: HubServer, store: Store, rate: int) -> subprocess.Popen[str]:
    program = textwrap.dedent(FETCH_SLOWLY)
    return subprocess.Popen(
        [sys.executable, "-c", program, server.endpoint, str(store.root), REPO, str(rate)],
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for_partial(store: Store, n_bytes: int) -> None:
    deadline = time.monotonic() + 60
    while not any(part.done_bytes >= n_bytes for part in store.partials()):
        assert time.monotonic() < deadline, "the other process made no progress"
        time.sleep(0.02)
