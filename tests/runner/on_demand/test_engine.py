"""Real workers that take turns: a budget that has room for one of them."""

import asyncio

import pytest
from on_demand_runs import WITHIN_S, Machine, asleep, during
from real_model import SHARED_MODELS, needs_shared_models
from supervisor_runs import collect, greedy, reaching

from edgellm.errors import NotServing, Overloaded
from edgellm.runner.on_demand import room
from edgellm.runner.supervisor import Supervisor

pytestmark = pytest.mark.model

UNKNOWN = ((7, 1.0),)  # an adapter that was never loaded


def test_the_second_is_loaded_in_the_firsts_place_and_both_say_the_same():
    machine = Machine()

    async def scenario():
        one, other = machine.model("one"), machine.model("other")
        assert (one.state, one.ready, one.pid) == ("sleeping", None, None)
        with pytest.raises(NotServing, match="sleeps"):
            await asyncio.wait_for(one.steps(9), 60)
        first = await collect(one, "Once upon", greedy(8))
        assert (one.state, machine.there) == ("ready", {"one"})
        pid = one.pid
        second = await collect(other, "Once upon", greedy(8))
        assert (one.state, machine.there) == ("sleeping", {"other"})
        third = await collect(one, "Once upon", greedy(8))
        assert one.pid not in (None, pid)
        return first[0], second[0], third[0]

    texts = during(machine, scenario)

    assert len(set(texts)) == 1
    assert machine.started == ["one", "other", "one"]


def test_an_answer_is_written_to_its_end_before_its_model_makes_place():
    machine = Machine()

    async def scenario():
        one, other = machine.model("one"), machine.model("other")
        long = asyncio.create_task(collect(one, "Once upon", greedy(400)))
        await one.tokenize("until it is there", False)
        short = asyncio.create_task(collect(other, "Once upon", greedy(4)))
        _, ended = await long
        assert not short.done()
        return ended.n_output, (await short)[1].n_output

    assert during(machine, scenario) == (400, 4)


def test_many_of_both_at_once_are_each_answered_once(monkeypatch):
    monkeypatch.setattr(room, "PATIENCE_S", WITHIN_S)  # a slow machine's stays are as many
    machine = Machine()

    async def scenario():
        engines = [machine.model("one"), machine.model("other"), machine.model("third", needs=4)]
        asked = [collect(engines[i % 3], f"Number {i}", greedy(5)) for i in range(30)]
        return [ended.n_output for _, ended in await asyncio.gather(*asked)]

    assert during(machine, scenario) == [5] * 30
    assert len(machine.started) <= 4, "those that want one model were answered in one stay"


def test_who_leaves_while_it_waits_is_forgotten_and_others_go_on():
    machine = Machine()

    async def scenario():
        one, other = machine.model("one"), machine.model("other")
        long = asyncio.create_task(collect(one, "Once upon", greedy(300)))
        await one.tokenize("until it is there", False)
        waits = asyncio.create_task(other.tokenize("never read", False))
        await asyncio.sleep(0.1)
        waits.cancel()
        await long
        await asyncio.sleep(1.5)
        return machine.there

    assert during(machine, scenario) == {"one"}


def test_an_idle_one_sleeps_and_a_dismissed_one_at_once():
    machine = Machine(budget=20, keep_s=0.3)

    async def scenario():
        one, other = machine.model("one"), machine.model("other")
        await one.tokenize("a", False)
        await other.tokenize("a", False)
        await asleep(one, other)
        states = (one.state, other.state)
        await one.tokenize("a", False)
        one.lease.dismiss()
        await asleep(one)
        return states

    assert during(machine, scenario) == ("sleeping", "sleeping")


def test_what_its_steps_take_is_measured_in_the_first_stay_only():
    machine = Machine()

    async def scenario():
        one = machine.model("one")
        told = []
        for _ in range(2):
            await one.tokenize("a", False)
            told.append(one.ready.rehearsed)
            one.lease.dismiss()
            await asleep(one)
        return told

    first, second = during(machine, scenario)
    assert first.decode[1] > 0
    assert second == first, "measured anew it would be another to the last digits"


def test_the_queue_of_one_that_sleeps_is_bounded_like_any():
    machine = Machine(max_queue=0)

    async def scenario():
        one, other = machine.model("one"), machine.model("other")
        long = asyncio.create_task(collect(one, "Once upon", greedy(300)))
        await one.tokenize("until it is there", False)
        limit = other.plan.n_parallel
        waiting = [asyncio.create_task(collect(other, "Hi", greedy(2))) for _ in range(limit)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await collect(other, "Hi", greedy(2))
        await asyncio.gather(long, *waiting)

    during(machine, scenario)


def test_whoever_waits_when_the_server_ends_is_told():
    machine = Machine()

    async def scenario():
        one, other = machine.model("one"), machine.model("other")
        asyncio.get_running_loop().call_later(0.5, machine_stops, machine)
        asked = (collect(one, "Once upon", greedy(10_000)), other.tokenize("a", False))
        return await asyncio.gather(*asked, return_exceptions=True)

    def machine_stops(machine):
        engines = machine.engines.values()
        stopping.extend(asyncio.create_task(engine.stop(0.1)) for engine in engines)

    stopping = []
    told = during(machine, scenario)

    assert isinstance(told[1], NotServing)
    assert isinstance(told[0], NotServing) or type(told[0][1]).__name__ == "Failed"


def test_who_comes_after_it_was_stopped_is_told_so_and_not_kept_waiting():
    machine = Machine()

    async def scenario():
        one = machine.model("one")
        waits = asyncio.create_task(one.tokenize("a", False))
        while one.state != "waking" or one.pid is None:  # noqa: ASYNC110 - nobody tells it
            await asyncio.sleep(0.01)
        await one.stop(0.1)
        with pytest.raises(NotServing):
            await waits
        while one.tenant.here:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        with pytest.raises(NotServing, match="stopped"):
            await asyncio.wait_for(one.tokenize("b", False), 60)

    during(machine, scenario)


@needs_shared_models
def test_an_adapter_that_came_later_is_there_again_after_a_sleep():
    machine = Machine()
    model = SHARED_MODELS / "stories260K-f16.gguf"
    sandbox = reaching(SHARED_MODELS)
    machine.new = lambda planned: Supervisor(str(model), planned, sandbox=sandbox)

    async def scenario():
        one = machine.model("one")
        await one.load_adapter("style", SHARED_MODELS / "stories260K-lora-random.gguf")
        one.lease.dismiss()
        await asleep(one)
        wanted = one.adapters.wanted(None, "style")
        return [
            await collect(one, "Once", greedy(3, adapters=which)) for which in (wanted, UNKNOWN)
        ]

    (_, ending), (_, refused) = during(machine, scenario)
    assert ending.n_output == 3
    assert "has been unloaded" in refused.message


def test_what_past_conversations_may_take_is_part_of_what_a_model_needs():
    machine = Machine()

    async def scenario():
        return machine.model("one", prefix_ram_bytes=3).tenant.needs

    assert during(machine, scenario) == {"cpu": 9}


def test_whoever_is_waited_for_gets_the_room_that_there_is_then():
    machine = Machine(budget=12)

    async def scenario():
        one, other, third = (machine.model(name) for name in ("one", "other", "third"))
        await one.tokenize("a", False)
        await other.tokenize("a", False)
        both = machine.there
        machine.budget = 6  # another program has taken the rest
        await third.tokenize("a", False)
        return both, machine.there

    assert during(machine, scenario) == ({"one", "other"}, {"third"})
    assert {"cpu": 12} in machine.asked
