"""The child that an oracle asks, and the answers that it keeps: what may go wrong with them."""

import dataclasses
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import psutil
import pytest
from gguf_files import llama_bytes
from oracle_runs import CPU_ONLY, machine, placement, shape

from edgellm.models.gguf.header import GGUFHeader, parse_header
from edgellm.models.spec import model_spec
from edgellm.runner.oracle.oracle import LlamaOracle, ask
from edgellm.runner.sandbox import landlock
from edgellm.selector.plan import Candidate
from edgellm.units import MIB

pytestmark = pytest.mark.model


def broken() -> Candidate:
    """A header that reads well and that llama.cpp ends its process over: no epsilon, no head."""
    header = parse_header(llama_bytes())
    assert isinstance(header, GGUFHeader)
    spec = model_spec((header,), "broken")
    return Candidate("broken", "broken", "?", spec, 0, headers=(header,))


def test_a_header_that_ends_the_child_costs_that_answer_only(tmp_path, demo):
    with LlamaOracle(tmp_path) as oracle:
        before = oracle.measure(demo, shape(), CPU_ONLY, machine())
        hostile = broken()
        for n_ctx in (512, 1024, 2048, 4096):
            assert oracle.measure(hostile, shape(n_ctx), CPU_ONLY, machine()) is None
        after = oracle.measure(demo, shape(), CPU_ONLY, machine())
        other = oracle.measure(demo, shape(512), CPU_ONLY, machine())
    assert before is not None
    assert before == after
    assert other is not None


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
def test_a_header_is_read_in_a_sandbox(tmp_path, demo):
    def children():
        return {one.pid for one in psutil.Process().children()}

    before = children()
    with LlamaOracle(tmp_path) as oracle:
        assert oracle.measure(demo, shape(), CPU_ONLY, machine()) is not None
        (pid,) = children() - before
        rights = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    assert {one.partition("NoNewPrivs:")[2].split()[0] for one in rights} == {"1"}


def test_an_absurd_vocabulary_is_not_tried_at_the_machines_expense(tmp_path, demo):
    """llama.cpp makes a token of each; four billion are 160 GB."""
    absurd = dataclasses.replace(demo, spec=dataclasses.replace(demo.spec, n_vocab=2**32 - 1))
    with LlamaOracle(tmp_path) as oracle:
        begun_s = time.monotonic()
        assert oracle.measure(absurd, shape(), CPU_ONLY, machine()) is None
        assert time.monotonic() - begun_s < 20  # it starts, fails, and is gone
        assert oracle.measure(demo, shape(), CPU_ONLY, machine()) is not None


def test_threads_get_their_own_answers(tmp_path, demo):
    """A gateway plans in several at once."""
    contexts = [512 * n for n in range(1, 17)]
    with LlamaOracle(tmp_path) as oracle, ThreadPoolExecutor(8) as pool:
        told = list(
            pool.map(lambda n: oracle.measure(demo, shape(n), CPU_ONLY, machine()), contexts)
        )
    each = [rows[0].kv_bytes for rows in told]
    assert each == [n * each[0] // 512 for n in contexts]


def test_an_answer_is_kept_and_a_broken_file_of_answers_is_not_believed(tmp_path, demo):
    with LlamaOracle(tmp_path) as oracle:
        told = oracle.measure(demo, shape(), placement(1), machine(24))
    (file,) = tmp_path.iterdir()
    kept = msgspec.msgpack.decode(file.read_bytes())
    (key,) = kept["answers"]
    kept["answers"][key][0][0] += 1  # a byte that nobody but the file can have told
    file.write_bytes(msgspec.msgpack.encode(kept))
    with LlamaOracle(tmp_path) as oracle:
        again = oracle.measure(demo, shape(), placement(1), machine(24))
    assert again[0].weight_bytes == told[0].weight_bytes + 1
    file.write_bytes(b"\xff" + file.read_bytes())
    with LlamaOracle(tmp_path) as oracle:
        assert oracle.measure(demo, shape(), placement(1), machine(24)) == told


def test_the_child_comes_up_for_a_model_that_was_never_asked_about(tmp_path, demo):
    def n_children() -> int:
        return len(psutil.Process().children())

    n_before = n_children()
    with LlamaOracle(tmp_path) as first:
        first.expect(demo)
        assert n_children() == n_before + 1
        told = first.measure(demo, shape(), CPU_ONLY, machine())
        assert n_children() == n_before + 1
    assert n_children() == n_before

    with LlamaOracle(tmp_path) as second:
        second.expect(demo)
        assert second.measure(demo, shape(), CPU_ONLY, machine()) == told
        assert n_children() == n_before


def test_answers_of_another_llama_cpp_are_not_believed(tmp_path, demo):
    with LlamaOracle(tmp_path) as oracle:
        told = oracle.measure(demo, shape(), placement(1), machine(24))
    (file,) = tmp_path.iterdir()
    kept = msgspec.msgpack.decode(file.read_bytes())
    (key,) = kept["answers"]
    kept["answers"][key][0][0] += 1
    kept["version"] = "0.0.1/1"
    file.write_bytes(msgspec.msgpack.encode(kept))
    with LlamaOracle(tmp_path) as oracle:
        assert oracle.measure(demo, shape(), placement(1), machine(24)) == told


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path, demo):
    (tmp_path / "file").write_text("not a folder")
    with LlamaOracle(tmp_path / "file" / "below") as oracle:
        assert oracle.measure(demo, shape(), CPU_ONLY, machine()) is not None


def test_one_answer_serves_every_machine_that_it_is_true_of(demo):
    """Sizes are in the question only where llama.cpp would split by them."""
    n = demo.spec.n_layers
    one = ask(n, shape(), placement(1), machine(24))
    assert one == ask(n, shape(), placement(1), machine(80))
    assert one != ask(n, shape(), placement(1), machine(24, backend="vulkan"))
    assert ask(n, shape(), placement(2), machine(24, 24)) != ask(
        n, shape(), placement(2), machine(24, 12)
    )
    split = placement(2, tensor_split=(1.0, 2.0))
    assert ask(n, shape(), split, machine(24, 24)) == ask(n, shape(), split, machine(24, 12))


_WITHOUT_SYMBOL = """
import sys
from pathlib import Path
import msgspec
from edgellm.models.local import read_headers
from edgellm.models.gguf.skeleton import write_skeletons
from edgellm.runner.llama.oracle import LlamaMemory
from edgellm.runner.oracle.messages import Question
question = msgspec.json.decode(sys.argv[1], type=Question)
for symbols in ((), None):
    memory = LlamaMemory() if symbols is None else LlamaMemory(symbols)
    print(msgspec.json.encode(memory.answer(question)).decode())
"""


def test_without_the_symbol_the_log_tells_the_cpus_part(tmp_path, demo):
    """The C API alone: KV cache and compute as in the full answer, rounded to 0.01 MiB."""
    from edgellm.models.gguf.skeleton import write_skeletons

    path = write_skeletons(demo.headers, demo.spec.n_vocab, tmp_path)
    question = ask(demo.spec.n_layers, shape(32_768), CPU_ONLY, machine())
    question = msgspec.structs.replace(question, path=str(path))
    asked = [sys.executable, "-c", _WITHOUT_SYMBOL, msgspec.json.encode(question).decode()]
    lines = subprocess.run(asked, capture_output=True, check=True).stdout.splitlines()
    (logged,), (full,) = (json.loads(line)["rows"] for line in lines)
    assert logged[0] is None
    assert full[0] > 0
    assert logged[1] == pytest.approx(full[1], abs=0.011 * MIB)
    assert logged[2] == pytest.approx(full[2], abs=0.006 * MIB)
