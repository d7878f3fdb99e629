import struct

import msgspec
import pytest

from edgellm.cli.preparing.vocabularies import remembered
from edgellm.models.gguf.known_arrays import KNOWN_ARRAYS, MIN_COUNT
from edgellm.probe.asked import cache_files


@pytest.fixture
def note(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return cache_files.folder() / "vocabularies.json"


def walks():
    return msgspec.json.decode(cache_files.folder().joinpath("vocabularies.json").read_bytes())


def test_what_was_stepped_over_is_written_down_and_given_to_the_next(note):
    data = struct.pack("<Q", 1) * MIN_COUNT
    with remembered():
        KNOWN_ARRAYS.add(data, 0, len(data), MIN_COUNT)
    assert walks()[-1]["n_bytes"] == len(data)
    before = note.stat().st_mtime_ns
    with remembered():
        assert KNOWN_ARRAYS.find_end(data, 0, MIN_COUNT) == len(data)
    assert note.stat().st_mtime_ns == before, "nothing that is not known yet"


def test_a_broken_note_is_as_none(note):
    note.parent.mkdir(parents=True)
    note.write_text("[{]")
    data = struct.pack("<Qc", 1, b"z") * MIN_COUNT
    with remembered():
        KNOWN_ARRAYS.add(data, 0, len(data), MIN_COUNT)
    assert walks()[-1]["n_bytes"] == len(data)
