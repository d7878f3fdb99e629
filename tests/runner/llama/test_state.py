"""The real llama.cpp, and what it makes of bytes that come from a file."""

import os
from threading import Event

import pytest
from real_model import SHARED_MODELS, demo_path, plan

from edgellm.chat.messages import GenerateParams
from edgellm.errors import EdgellmError
from edgellm.runner.batch import (
    Batch,
    Fetch,
    Forget,
    Restore,
    RestoreAll,
    Row,
    SaveAll,
    Start,
    Trim,
)
from edgellm.runner.kv.prefix_file import Stored, chain_key
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.prefix_disk import PrefixDisk

pytestmark = pytest.mark.model

TEXT = tuple(30 + i * i % 150 for i in range(300))
LOGPROBS = GenerateParams(logprobs=5)
FILES = [
    "tiny-gemma3-q8_0.gguf", "tiny-gpt-oss-mxfp4_moe.gguf", "tiny-lfm2-q8_0.gguf",
    "tiny-mamba-q8_0.gguf",
]  # fmt: skip


def loaded(file=None):
    path = SHARED_MODELS / file if file else demo_path()
    if not path.exists():
        pytest.skip(f"{file} is not there")
    return LlamaBackend(os.fsencode(path), plan(n_ubatch=64), lambda ratio: None)


def fetched(backend, folder, payload):
    """A disk with two files, of which the first was read as blob 7, and its seal was right."""
    odd, other = (Stored(chain_key(b"", (n,)), b"", 0, (n,), len(payload)) for n in (1, 2))
    disk, has_come = PrefixDisk(folder, 1 << 24, b"model"), Event()
    for stored in (odd, other):
        disk.store(stored, memoryview(payload))
    backend.keep_on(disk, lambda blob, elapsed_s: has_come.set())
    backend.decode(Batch((Fetch(7, odd.key),), (), 0))
    assert has_come.wait(60)
    return disk, other


def after(backend, *ops, start=0):
    """What comes after TEXT, of which the first `start` tokens lie there, as its logprobs say."""
    begun = Start(0, 1, LOGPROBS, TEXT)
    rows = [Row(0, start + i, token, False) for i, token in enumerate(TEXT[start:])]
    for at in range(0, len(rows), 64):
        backend.decode(Batch((), tuple(rows[at : at + 64]), 0))
    step = backend.decode(Batch((begun, *ops), (Row(0, len(TEXT), 40, True),), 0))
    return step.sampled[0][0].logprob.top


@pytest.mark.parametrize("file", [None, *FILES])
def test_what_llama_cpp_refuses_of_a_file_is_computed_and_the_file_erased(file, tmp_path):
    computed = after(loaded(file))
    backend = loaded(file)
    disk, other = fetched(backend, tmp_path, b"no")
    assert after(backend, RestoreAll(7, 0, TEXT), start=len(TEXT)) == computed
    disk.close()
    assert PrefixDisk(tmp_path, 1 << 24, b"model").scan() == (other,)


@pytest.mark.parametrize("file", [None, *FILES])
def test_of_a_state_that_breaks_off_nothing_stays(file, tmp_path):
    writer = loaded(file)
    computed = after(writer)
    writer.decode(Batch((SaveAll(0, 3),), (), 0))
    whole = writer._state._blobs[3].tobytes()
    backend = loaded(file)
    disk, _ = fetched(backend, tmp_path, whole[: len(whole) // 2])
    assert after(backend, RestoreAll(7, 0, TEXT), start=len(TEXT)) == computed
    disk.close()


def test_a_stretch_that_is_refused_is_computed_after_what_lies_before_it(tmp_path):
    computed = after(loaded())
    backend = loaded()
    disk, _ = fetched(backend, tmp_path, b"no")
    backend.decode(
        Batch((), tuple(Row(0, i, token, False) for i, token in enumerate(TEXT[:64])), 0)
    )
    assert after(backend, Restore(7, 0, 64, TEXT[64:]), start=len(TEXT)) == computed
    disk.close()


def test_what_this_worker_has_written_itself_must_be_taken():
    backend = loaded("tiny-gemma3-q8_0.gguf")
    after(backend)
    backend.decode(Batch((SaveAll(0, 3),), (), 0))
    backend._state._blobs[3] = backend._state._blobs[3][:20]
    with pytest.raises(EdgellmError, match="of 20 bytes"):
        backend.decode(Batch((RestoreAll(3, 1, TEXT),), (), 0))


@pytest.mark.parametrize("file", ["tiny-lfm2-q8_0.gguf", "tiny-mamba-q8_0.gguf"])
def test_a_state_that_cannot_be_cut_back_is_no_answers_beginning(file):
    backend = loaded(file)
    after(backend)
    backend.decode(Batch((Trim(0, len(TEXT) + 1),), (), 0))  # of it nothing goes
    with pytest.raises(EdgellmError, match="could not cut sequence 0 at 200"):
        backend.decode(Batch((Trim(0, 200),), (), 0))
    backend.decode(Batch((Forget(0), Forget(0)), (), 0))
