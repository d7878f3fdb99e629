"""What is noted of a plan: requests that ran alone, and what a driver takes."""

import asyncio
from pathlib import Path

import pytest
from selector_machines import machine
from selector_specs import candidate, dense

from edgellm.chat.events import Finished, Timings
from edgellm.chat.messages import GenerateParams, JSONSchema
from edgellm.chat.templating.template import ChatTemplate
from edgellm.cli.preparing.prepare import Prepared
from edgellm.cli.serving.observing import Observer, Watched, measured
from edgellm.meter.sample import Sample
from edgellm.profiles import load_profiles
from edgellm.runner.loadlog import DeviceMemory
from edgellm.runner.messages import Done, Ready
from edgellm.runner.supervisor import Supervisor
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal
from edgellm.units import GIB, MIB

CARD = machine((24, 900))
SPEC = dense()
PLAN = choose(CARD, [candidate(SPEC)], Goal(n_ctx_seq=4096), load_profiles())
TIMES = Timings(0.0, 2.0, 4.0)


class Notes:
    """Calibrations that only remember what they were told."""

    def __init__(self):
        self.speeds, self.overheads = [], []

    def observe(self, plan, spec, hardware, profile, seen):
        assert (plan, spec, hardware) == (PLAN, SPEC, CARD)
        self.speeds.append(seen)

    def observe_overhead(self, device, before, after, accounted):
        self.overheads.append((device.id, before - after, accounted))


def prepared(spec=SPEC, **changes):
    return Prepared(
        "m", Path("m.gguf"), PLAN, lambda plan: None, ChatTemplate(None), spec, **changes
    )


def finished(n_prompt=1000, n_cached=200, n_output=101):
    return Finished("length", n_prompt, n_cached, n_output, TIMES)


def test_a_request_is_measured_as_the_calibrations_take_it():
    seen = measured(finished())

    assert (seen.decode_tok_s, seen.n_streams, seen.depth) == (25.0, 1, 1050)
    assert (seen.prefill_tok_s, seen.n_prompt, seen.prompt_depth) == (400.0, 800, 200)


def test_what_is_too_short_to_be_measured_is_unknown():
    assert measured(finished(n_output=10)).decode_tok_s is None
    assert measured(finished(n_prompt=300, n_cached=250)).prefill_tok_s is None


def hear(*steps, params=None, load=1.0):
    """Requests that come and end in this order: "+a" comes, "-a" ends; those of capital letters
    are another model's. Returns what was noted."""
    notes = Notes()
    observer = Observer(CARD, tuple, notes, load=lambda: load)

    async def run():
        one, other = (observer.supervise(prepared(), PLAN, 8) for _ in range(2))
        one.state = other.state = "ready"
        streams, ids = {}, {}
        for step in steps:
            name = step[1:]
            engine = other if name.isupper() else one
            if step[0] == "+":
                streams[name] = engine.generate("Hello", params or GenerateParams())
                ids[name] = max(engine._inflight.request_ids)
            elif step[0] == "-":
                done = Done(ids[name], "length", 1000, 200, 101, TIMES)
                engine._inflight.deliver(done)
                assert isinstance(await anext(streams[name]), Finished)
            else:
                await streams[name].aclose()
        await asyncio.gather(*observer._tasks)

    asyncio.run(run())
    return notes.speeds


def test_who_is_alone_from_begin_to_end_is_noted():
    (seen,) = hear("+a", "-a")

    assert seen.decode_tok_s == 25.0


@pytest.mark.parametrize(
    "steps",
    [
        ("+a", "+b", "-a", "-b"),
        ("+a", "+b", "-b", "-a"),
        ("+a", "+b", "xb", "-a"),
        ("+a", "+b", "xa", "-b"),
    ],
)
def test_who_shared_the_model_for_a_moment_is_not(steps):
    assert hear(*steps) == []


def test_who_shared_the_machine_with_another_models_answer_is_not_noted():
    assert hear("+a", "+B", "-a", "-B") == []
    assert hear("+a", "+B", "-B", "-a") == []
    assert len(hear("+a", "-a", "+B", "-B")) == 2


def test_who_comes_after_the_others_have_left_is_alone():
    assert len(hear("+a", "+b", "xa", "-b", "+c", "-c")) == 1


def test_who_gave_up_is_not_noted():
    assert hear("+a", "xa") == []


def test_an_answer_with_a_structure_or_logprobs_says_nothing_of_the_plan():
    assert hear("+a", "-a", params=GenerateParams(structure=JSONSchema("{}"))) == []
    assert hear("+a", "-a", params=GenerateParams(logprobs=3)) == []


def test_on_a_machine_that_others_keep_busy_nothing_is_noted():
    assert hear("+a", "-a", load=16.0) != []  # its sixteen threads may all be ours
    assert hear("+a", "-a", load=25.0) == []


def test_only_the_first_few_after_a_load_count():
    assert len(hear(*("+a", "-a") * 9)) == 3


def test_tiny_models_and_embeddings_are_not_watched():
    observer = Observer(CARD, tuple, Notes())
    tiny = dense(n_layers=2, n_embd=64, n_ff=128, n_head=4, n_vocab=100)

    assert isinstance(observer.supervise(prepared(), PLAN, 8), Watched)
    for other in (prepared(spec=tiny), prepared(is_demo=True)):
        assert type(observer.supervise(other, PLAN, 8)) is Supervisor


class Meter:
    """Says what a card uses: so much at first, and so much after a load."""

    def __init__(self, before, after):
        self.values = [before, after]
        self.at_s = 0.0

    def __call__(self):
        import time

        used = self.values[0] if len(self.values) == 1 else self.values.pop(0)
        return (Sample("gpu0", time.monotonic(), used_bytes=used),)


def load(meter, *memory, hardware=CARD, plan=PLAN):
    notes = Notes()
    observer = Observer(hardware, meter, notes)

    async def run():
        engine = observer.supervise(prepared(), plan, 8)
        engine.ready = Ready(1, 1, 1, 0.1, True, False, 1, 1, memory)
        await observer.loaded(engine, observer.used_bytes())

    asyncio.run(run())
    return notes.overheads


def test_a_drivers_own_memory_is_what_llama_cpp_does_not_account_for():
    told = load(Meter(GIB, 7 * GIB + 300 * MIB), DeviceMemory("CUDA0", 4 * GIB, GIB, GIB))

    assert told == [("gpu0", 6 * GIB + 300 * MIB, 6 * GIB)]


def test_without_a_sensor_or_a_word_from_llama_cpp_nothing_is_noted():
    assert load(tuple, DeviceMemory("CUDA0", GIB, 0, 0)) == []
    assert load(Meter(GIB, 2 * GIB)) == []
