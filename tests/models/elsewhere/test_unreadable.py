"""Another user's store, looked at by a process that may not: root, whom nothing keeps out, gives
the folder away and its own rights up."""

import grp
import json
import os
import shutil
import subprocess
import sys

import pytest
from elsewhere_stores import put

from edgellm.models.elsewhere.unreadable import unreadable_at

AS_ROOT = os.geteuid() == 0
LOOK = """
import json
from edgellm.errors import EdgellmError
from edgellm.models.elsewhere.reference import ElsewhereReference
from edgellm.models.elsewhere.tools import found_by, found_models, unreadable_stores
told = {"models": [one.name for one in found_models()]}
told["shut"] = [[one.title, str(one.path), one.hint] for one in unreadable_stores()]
try:
    found_by(ElsewhereReference("ollama", "qwen3:8b"))
except EdgellmError as error:
    told["error"] = [type(error).__name__, str(error), error.hint]
print(json.dumps(told))
"""

POWERLESS = ("setpriv", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
SOMEBODY = 998
needs_root = pytest.mark.skipif(
    not AS_ROOT or not shutil.which("setpriv"), reason="only root can give a folder away"
)


@pytest.fixture
def seen(store, home):
    """What nobody sees of a store of ours, and of his own LM Studio beside it."""
    store.add("qwen3:8b")
    put(home / ".lmstudio/models", "org/Own/x-Q8_0.gguf")

    def look():
        done = subprocess.run(
            [*POWERLESS, sys.executable, "-c", LOOK], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return look


@needs_root
def test_a_store_behind_a_shut_door_is_told_with_what_opens_it(seen, store, home):
    door = home / ".ollama"
    door.chmod(0o700)
    os.chown(door, SOMEBODY, SOMEBODY)
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
    os.chown(door, SOMEBODY, 1)
    name = grp.getgrgid(1).gr_name
    assert seen()["shut"] == [
        ["Ollama", str(door), f'sudo usermod -aG {name} "$USER", then log in again']
    ]


@needs_root
def test_a_folder_within_the_store_may_be_what_is_shut(seen, store):
    (store.root / "blobs").chmod(0o700)
    os.chown(store.root / "blobs", SOMEBODY, SOMEBODY)
    told = seen()
    assert told["models"] == ["lmstudio:org/Own:Q8_0"]
    assert [path for _, path, _ in told["shut"]] == [str(store.root / "blobs")]


@needs_root
def test_a_blob_that_only_its_owner_reads_costs_itself_only(seen, store):
    blob = store.add("qwen3:8b")
    store.add("other:1", b"GGUF of another")
    blob.chmod(0o600)
    os.chown(blob, SOMEBODY, SOMEBODY)
    told = seen()
    assert told["models"] == ["ollama:other:1", "lmstudio:org/Own:Q8_0"]
    assert told["shut"] == []
    words = f"ollama:qwen3:8b: no permission to read Ollama's {blob}"
    assert told["error"][:2] == ["StorageError", words]
    assert told["error"][2] == f"sudo chmod o+r {blob}"


@needs_root
def test_a_folder_that_may_be_listed_and_not_entered_costs_itself_only(seen, store):
    store.add("other:1", b"GGUF of another")
    half = store.path("qwen3:8b").parent
    half.chmod(0o744)
    os.chown(half, SOMEBODY, SOMEBODY)
    assert seen()["models"] == ["ollama:other:1", "lmstudio:org/Own:Q8_0"]


def test_nothing_is_shut_where_nothing_is(home):
    assert unreadable_at("Ollama", home / "nowhere/at/all") is None
    assert unreadable_at("Ollama", home) is None
