"""Another user's store, looked at by a process that may not: root, whom nothing keeps out, becomes
nobody for it."""

import json
import os
import subprocess
import sys

import pytest
from elsewhere_stores import put

from edgellm.models.elsewhere.shut import shut_at

AS_ROOT = os.geteuid() == 0
LOOK = """
import json, os
from edgellm.errors import EdgellmError
from edgellm.models.elsewhere.reference import ElsewhereReference
from edgellm.models.elsewhere.tools import found_by, found_models, shut_stores
os.setgroups([]), os.setgid(65534), os.setuid(65534)
told = {"models": [one.name for one in found_models()]}
told["shut"] = [[one.title, str(one.path), one.hint] for one in shut_stores()]
try:
    found_by(ElsewhereReference("ollama", "qwen3:8b"))
except EdgellmError as error:
    told["error"] = [type(error).__name__, str(error), error.hint]
print(json.dumps(told))
"""

needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")


@pytest.fixture
def seen(store, home):
    """What nobody sees of a store of ours, and of his own LM Studio beside it."""
    for folder in (home, *home.parents):
        if folder.stat().st_uid == os.geteuid() and folder.name.startswith(("pytest", "test_")):
            folder.chmod(0o755)
    store.add("qwen3:8b")
    put(home / ".lmstudio/models", "org/Own/x-Q8_0.gguf")

    def look():
        done = subprocess.run(
            [sys.executable, "-c", LOOK], capture_output=True, text=True, env={**os.environ}
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return look


@needs_root
def test_a_store_behind_a_shut_door_is_told_with_what_opens_it(seen, store, home):
    door = home / ".ollama"
    door.chmod(0o700)
    told = seen()
    assert told["models"] == ["lmstudio:org/Own:Q8_0"]
    assert told["shut"] == [["Ollama", str(door), f"sudo chmod o+rx {door}"]]
    kind, words, hint = told["error"]
    assert (kind, hint) == ("StorageError", f"sudo chmod o+rx {door}")
    assert words == f"no permission to read Ollama's {door}"


@needs_root
def test_a_door_that_is_open_to_a_group_is_opened_by_joining_it(seen, home):
    door = home / ".ollama"
    door.chmod(0o750)
    os.chown(door, 0, 0)
    assert seen()["shut"] == [
        ["Ollama", str(door), 'sudo usermod -aG root "$USER", then log in again']
    ]


@needs_root
def test_a_folder_within_the_store_may_be_what_is_shut(seen, store):
    (store.root / "blobs").chmod(0o700)
    told = seen()
    assert told["models"] == ["lmstudio:org/Own:Q8_0"]
    assert [path for _, path, _ in told["shut"]] == [str(store.root / "blobs")]


@needs_root
def test_a_blob_that_only_its_owner_reads_costs_itself_only(seen, store):
    blob = store.add("qwen3:8b")
    store.add("other:1", b"GGUF of another")
    blob.chmod(0o600)
    told = seen()
    assert told["models"] == ["ollama:other:1", "lmstudio:org/Own:Q8_0"]
    assert told["shut"] == []
    words = f"ollama:qwen3:8b: no permission to read Ollama's {blob}"
    assert told["error"][:2] == ["StorageError", words]
    assert told["error"][2] == f"sudo chmod o+r {blob}"


def test_nothing_is_shut_where_nothing_is(home):
    assert shut_at("Ollama", home / "nowhere/at/all") is None
    assert shut_at("Ollama", home) is None
