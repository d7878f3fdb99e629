"""The real llama.cpp, and what it makes of bytes that come from a file."""

import os
from threading import Event

import pytest
from real_model import demo_path, plan

from edgellm.errors import EdgellmError
from edgellm.runner.batch import Batch, Fetch, Restore, RestoreAll, Resume
from edgellm.runner.llama import LlamaBackend
from edgellm.runner.prefix_disk import PrefixDisk
from edgellm.runner.prefix_file import Stored, chain_key

pytestmark = pytest.mark.model


@pytest.mark.parametrize("op", [Restore(7, 0), RestoreAll(7, 0), Resume(7, 0)])
def test_a_file_that_llama_cpp_refuses_is_not_there_for_the_next_worker(op, tmp_path):
    odd, other = (Stored(chain_key(b"", (n,)), b"", 0, (n,), 2) for n in (1, 2))
    disk, has_come = PrefixDisk(tmp_path, 1 << 20, b"model"), Event()
    for stored in (odd, other):
        disk.store(stored, memoryview(b"no"))
    backend = LlamaBackend(os.fsencode(demo_path()), plan(), lambda ratio: None)
    backend.keep_on(disk, lambda blob, elapsed_s: has_come.set())
    backend.decode(Batch((Fetch(7, odd.key),), (), 0))
    assert has_come.wait(10)
    with pytest.raises(EdgellmError, match="of 2 bytes"):
        backend.decode(Batch((op,), (), 0))
    disk.close()
    assert PrefixDisk(tmp_path, 1 << 20, b"model").scan() == (other,)
