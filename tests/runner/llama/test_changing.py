"""The real llama.cpp from one layout to another: the next turn is what it would have been.

To the bit, flash attention off: what is carried over lies in the same order, from cell 0 on. With
another kind of attention it is what that kind makes of the same cells.
"""

import os
import time
from dataclasses import replace

import pytest
from layout_runs import Willing, changing, other
from real_model import SHARED_MODELS, demo_path, needs_shared_models, plan

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.errors import EdgellmError
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.llama.load import LoadError
from edgellm.runner.messages import Load
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence
from edgellm.runner.threads.inbox import Inbox
from edgellm.runner.worker_child import _Disk
from edgellm.selector.plan import layout_of

pytestmark = pytest.mark.model

POOL = plan(n_parallel=4, n_seq_max=5, n_ctx=4096, n_ctx_seq=1024, n_outputs_max=5)
STREAMS = replace(POOL, kv_unified=False, n_seq_max=4, n_outputs_max=4)
POOL = replace(POOL, other_layouts=(layout_of(STREAMS),))
STREAMS = other(POOL)
FILES = ["tiny-qwen3-q8_0.gguf", "tiny-deepseek2-q8_0.gguf", "stories260K-moe4-q8_0.gguf"]
files = pytest.mark.parametrize(
    "path",
    [
        pytest.param(demo_path(), id="demo"),
        *(pytest.param(SHARED_MODELS / one, id=one, marks=needs_shared_models) for one in FILES),
    ],
)
plain_files = pytest.mark.parametrize(
    "path",
    [
        pytest.param(demo_path(), id="demo"),
        pytest.param(SHARED_MODELS / FILES[0], id=FILES[0], marks=needs_shared_models),
    ],
)
both_ways = pytest.mark.parametrize("begins", [POOL, STREAMS], ids=["pool", "streams"])


def text(first, n):
    return [5 + (first + i * i * 7) % 200 for i in range(n)]


class House:
    def __init__(self, path, begins, disk=None):
        begins = replace(begins, prefix_disk=disk and str(disk), prefix_disk_bytes=1 << 30)
        self.backend = LlamaBackend(os.fsencode(path), begins, lambda ratio: None)
        self.inbox, self.lines = Inbox(), []
        self.disk = _Disk(Load(os.fsencode(path), begins), self.backend, self.inbox)
        self.changing = changing(
            self.backend, begins=begins, log=self.lines.append, clock=time.monotonic
        )
        self.changing._begin, self.changing._end = self.begin, self.disk.close
        self.scheduler, self.n_asked = self.begin(begins), 0

    def begin(self, plan):
        self.disk.open(plan)
        # No measured costs: on a busy machine they pad a step, and its numbers round differently.
        return Scheduler(self.backend.limits, Pace(0.1))

    def run(self, prompt, n_output=6):
        """The sequence, and its tokens with their logprobs."""
        params = GenerateParams(SamplingParams(temperature=0, ignore_eos=True), logprobs=2)
        sequence = Sequence(self.n_asked, list(prompt), len(prompt) + n_output, params)
        self.n_asked += 1
        self.scheduler.add(sequence)
        told = []
        while not (self.scheduler.idle and self.scheduler.is_at_rest):
            if batch := self.scheduler.schedule():
                step = self.backend.decode(batch)
                self.scheduler.memory.observe(1e-6)  # to copy is worth it, whatever the machine
                outputs = self.scheduler.commit(batch, step.sampled)
                told += [o.logprob for o in outputs if o.sequence is sequence]
            elif self.scheduler.awaits_message:
                for fetched in self.inbox.take(5.0):
                    self.scheduler.memory.fetched(fetched.blob, fetched.elapsed_s)
            self.scheduler.check()
        return sequence, told

    def change(self):
        self.scheduler = self.changing.change(self.scheduler)

    def refuse(self, plan):
        """From here on these are the other layouts that it believes to have."""
        self.changing.plan = plan
        self.changing._choice = Willing(plan, StepCosts(), 1, 1000)


@both_ways
@files
def test_the_next_turn_goes_on_from_the_whole_conversation_to_the_bit(path, begins):
    house, stays = House(path, begins), House(path, begins)
    talk = text(1, 300)
    for turn in range(4):
        sequence, told = house.run(talk)
        assert told == stays.run(talk)[1]
        if turn:
            assert sequence.n_cached >= len(talk) - 5
        talk = [*sequence.tokens, 9, 8, 7 + turn]
        house.change()
    assert len(house.lines) == 4


@both_ways
def test_of_many_conversations_all_are_kept_whatever_they_have_in_common(begins):
    house = House(demo_path(), begins)
    system = text(1, 80)  # most of each is its own: none goes on in another's place
    talks = [house.run(system + text(first, 150), 20)[0].tokens for first in range(30, 37)]
    house.change()
    cached = [house.run([*talk, 9])[0].n_cached for talk in talks]
    assert cached == [len(talk) - 1 for talk in talks]


FLASH = replace(POOL, flash_attention=None, other_layouts=())
KINDS = {
    (unified, flash): replace(
        FLASH, kv_unified=unified, flash_attention=flash, n_seq_max=4 + unified, n_outputs_max=5
    )
    for unified in (True, False)
    for flash in (None, False)
}
LAYOUTS = {kind: layout_of(one) for kind, one in KINDS.items()}


def of_kind(kind):
    others = tuple(one for there, one in LAYOUTS.items() if there != kind)
    return replace(KINDS[kind], other_layouts=others)


def go(house, kind):
    """To that layout, whatever pays."""
    house.changing._choice.wanted = LAYOUTS[kind]
    house.change()
    assert layout_of(house.changing.plan) == LAYOUTS[kind]


@pytest.mark.parametrize("there", [(True, False), (False, False)], ids=["pool", "streams"])
@pytest.mark.parametrize("here", [(True, None), (False, None)], ids=["pool", "streams"])
@plain_files
def test_attention_changes_behind_conversations_that_stay(path, here, there):
    house = House(path, of_kind(here))
    talk = house.run(text(1, 600))[0].tokens
    for kind in (there, here, there):
        go(house, kind)
        sequence, _ = house.run([*talk, 9, 8, 7])
        assert sequence.n_cached >= len(talk) - 5
        talk = sequence.tokens
    assert sum("a step takes" in line for line in house.lines) == 1  # it is measured once
    assert sum("now " in line for line in house.lines) == 3


@plain_files
def test_what_was_computed_with_one_attention_is_the_same_to_the_bit_after_the_other(path):
    house, stays = (House(path, of_kind((True, False))) for _ in range(2))
    talk = house.run(text(1, 600))[0].tokens
    stays.run(text(1, 600))
    go(house, (True, None))
    go(house, (True, False))
    again = house.run([*talk, 9, 8, 7])
    assert again[1] == stays.run([*talk, 9, 8, 7])[1]
    assert again[0].n_cached >= len(talk) - 5


def test_files_of_one_attention_are_read_with_the_other(tmp_path):
    house = House(demo_path(), of_kind((True, None)), tmp_path)
    house.run(text(1, 600))
    go(house, (True, False))
    talk = house.run([*text(1, 600), *text(90, 200)])[0].tokens
    house.disk.close()
    assert len([one for one in tmp_path.iterdir() if one.is_dir()]) == 1
    again = House(demo_path(), of_kind((True, None)), tmp_path)
    sequence, told = again.run([*talk, 9, 8])
    assert sequence.n_loaded >= len(talk) - 40
    assert len(told) == 6
    again.disk.close()


def test_where_the_trial_fails_the_old_layout_is_back_with_all_it_held():
    house = House(demo_path(), of_kind((True, None)))
    talk, try_depth = house.run(text(1, 600))[0].tokens, house.backend.try_depth

    def failing(payload, n_tokens):
        if house.backend.limits.n_batch == 128:
            raise EdgellmError("no place")
        return try_depth(payload, n_tokens)

    house.backend.try_depth = failing
    layout = replace(LAYOUTS[True, False], n_ubatch=128)
    house.refuse(replace(house.changing.plan, other_layouts=(layout,)))
    house.change()
    assert layout_of(house.changing.plan) == LAYOUTS[True, None]
    assert house.lines == ["no change to one pool of KV cells, without flash attention: no place"]
    assert not house.changing.is_due(house.scheduler)
    assert house.run([*talk, 9])[0].n_cached == len(talk) - 1


def test_attention_is_not_tried_before_a_conversation_is_long_enough():
    house = House(demo_path(), of_kind((True, None)))
    house.changing._choice.wanted = LAYOUTS[True, False]
    house.run(text(1, 300))
    assert not house.changing.is_due(house.scheduler)
    house.run(text(1, 600))
    assert house.changing.is_due(house.scheduler)


def test_where_the_long_conversation_cannot_be_carried_attention_stays_as_it_is():
    house = House(demo_path(), replace(of_kind((True, None)), prefix_ram_bytes=400_000))
    house.run(text(1, 600))
    house.changing._choice.wanted = LAYOUTS[True, False]
    house.change()
    assert layout_of(house.changing.plan) == LAYOUTS[True, None]
    assert house.lines == []
    assert len(house.run(text(1, 300))[1]) == 6


def test_steps_learn_what_they_cost_for_each_layout_and_nothing_is_rehearsed_again():
    house = House(demo_path(), POOL)
    costs, rehearsed = house.backend.costs, house.backend.rehearsed
    house.change()
    assert house.backend.costs is not costs
    assert house.backend.rehearsed is rehearsed
    house.change()
    assert house.backend.costs is costs


@both_ways
def test_a_context_that_llama_cpp_refuses_leaves_the_old_layout_with_all_it_held(begins):
    house = House(demo_path(), begins)
    talk = house.run(text(1, 300))[0].tokens
    (there,) = house.changing.plan.other_layouts
    bad = replace(house.changing.plan, other_layouts=(replace(there, n_seq_max=257),))
    house.refuse(bad)  # more than there can be
    house.change()
    assert house.changing.plan.kv_unified == begins.kv_unified
    assert "could not load a context of 4096 tokens" in house.lines[-1]
    assert house.run([*talk, 9])[0].n_cached == len(talk) - 1
    with pytest.raises(LoadError):
        house.backend.lay_out(other(bad))


@both_ways
def test_each_layout_finds_its_own_files_again(begins, tmp_path):
    house = House(demo_path(), begins, tmp_path)
    talk = house.run(text(1, 300))[0].tokens
    house.change()
    second = house.run(text(77, 250))[0].tokens
    house.change()
    house.disk.close()
    folders = [one for one in tmp_path.iterdir() if one.is_dir()]
    assert len(folders) == 2
    assert all(any(one.glob("*.kv")) for one in folders)
    for begun, prompt in ((begins, talk), (other(begins), second)):
        again = House(demo_path(), begun, tmp_path)
        sequence, _ = again.run([*prompt, 9, 8])
        assert sequence.n_loaded >= len(prompt) - 40
        again.disk.close()
