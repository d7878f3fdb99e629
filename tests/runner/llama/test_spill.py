"""The real llama.cpp: what left its cells and came back says what it would have said.

To the bit, where its cells lie in the same order below the same height: sums over more or other
cells round differently, with or without copies (flash attention is off here).
"""

import os
import re

import llama_cpp
import pytest
from real_model import SHARED_MODELS, demo_path, needs_shared_models, plan

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.batch import Forget, Restore, Save
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

pytestmark = pytest.mark.model

FULL_ATTENTION = [
    "stories260K-pad-q4_k_m.gguf",
    "stories260K-moe4-q8_0.gguf",
    "tiny-qwen3-q8_0.gguf",
    "tiny-qwen3moe-q8_0.gguf",
    "tiny-deepseek2-q8_0.gguf",
]
files = pytest.mark.parametrize(
    "path",
    [
        pytest.param(demo_path(), id="demo"),
        *(
            pytest.param(SHARED_MODELS / name, id=name, marks=needs_shared_models)
            for name in FULL_ATTENTION
        ),
    ],
)

LISTENING = []  # llama.cpp calls it for as long as the process lives


class House:
    def __init__(self, path, ram_bytes=1 << 30, **changes):
        shape = {"n_parallel": 4, "n_seq_max": 5, "n_ctx": 4096, "n_ctx_seq": 1024}
        made = plan(prefix_ram_bytes=ram_bytes, **shape | changes)
        self.backend = LlamaBackend(os.fsencode(path), made, lambda ratio: None)
        self.scheduler = Scheduler(self.backend.limits, Pace(0.1))
        self.ops, self.heights, self.n_asked = [], [], 0

    def ask(self, prompt, n_output):
        params = GenerateParams(SamplingParams(temperature=0, ignore_eos=True), logprobs=2)
        sequence = Sequence(self.n_asked, list(prompt), len(prompt) + n_output, params)
        self.n_asked += 1
        self.scheduler.add(sequence)
        return sequence

    def run(self, prompt, n_output=4):
        """The sequence, and its tokens with their logprobs."""
        sequence = self.ask(prompt, n_output)
        told = []
        while not self.scheduler.is_at_rest:
            told += [o.logprob for o in self.step() if o.sequence is sequence]
        return sequence, told

    def step(self):
        batch = self.scheduler.schedule()
        if batch is None:
            return []
        self.ops += batch.ops
        memory = self.scheduler.memory
        self.heights.append((memory.n_kv, memory.used) if batch.rows else None)
        step = self.backend.decode(batch)
        memory.observe(step.times.ops_s)
        outputs = list(self.scheduler.commit(batch, step.sampled))
        self.scheduler.check()
        return outputs

    def done(self, kind):
        return [op for op in self.ops if isinstance(op, kind)]


def text(first, n):
    return [300 + (first * 37 + i * i) % 150 for i in range(n)]


@files
def test_a_conversation_that_left_the_cells_goes_on_bit_by_bit_as_one_that_stayed(path):
    stayed, left = House(path, ram_bytes=0), House(path)
    first = text(1, 400)
    told = {}
    for house in (stayed, left):
        sequence, _ = house.run(first)
        if house is left:
            house.run(text(2, 300))
        sequence, told[house] = house.run([*sequence.tokens, 310, 311], 8)
        assert sequence.n_cached == 403
    assert sequence.n_restored == 403
    assert left.done(Restore)
    assert not stayed.done(Restore)
    assert told[left] == told[stayed]


@files
def test_what_grew_on_a_shared_root_comes_back_edge_by_edge(path):
    house, alone = House(path), House(path, ram_bytes=0)
    root = text(1, 200)
    branches = [[*root, *text(3 + i, 50)] for i in range(3)]
    asked = [house.ask(branch, 4) for branch in branches]
    while not house.scheduler.is_at_rest:
        house.step()
    assert sum(op.end - op.start for op in house.done(Save)) == 200 + 3 * 53
    for sequence in asked:
        house.run(text(9, 500))
        again, told = house.run([*sequence.tokens, 312])
        assert again.n_restored == 253
        _, fresh = alone.run([*sequence.tokens, 312])
        assert told[0].token == fresh[0].token
        assert told[0].logprob == pytest.approx(fresh[0].logprob, abs=0.05)


def test_cells_lie_where_they_are_counted(monkeypatch):
    """llama.cpp's own account of them, which it gives before every row that it places."""
    monkeypatch.setenv("LLAMA_KV_CACHE_DEBUG", "1")
    house, seen, compared = House(demo_path()), [], 0

    def listen(level, line, user_data):
        found = re.search(rb"find_slot: stream\[0\], n = *(\d+), used = *(\d+)", line)
        if found:
            seen.append((int(found[1]), int(found[2])))

    LISTENING[:] = [llama_cpp.llama_log_callback(listen)]
    llama_cpp.llama_log_set(LISTENING[0], None)
    conversations = [house.ask(text(i % 6, 90 * (1 + i % 5)), 5 + 7 * (i % 3)) for i in range(9)]
    while not house.scheduler.is_at_rest or conversations:
        if house.scheduler.is_at_rest:
            house.ask([*conversations.pop().tokens, 310], 3)
        house.step()
        if house.heights[-1]:
            height, used = seen[-1]
            assert (max(256, -(-height // 256) * 256), used) == house.heights[-1]
            compared += 1
    assert compared > 50
    assert house.done(Save)
    assert house.done(Restore)
    assert house.done(Forget)
