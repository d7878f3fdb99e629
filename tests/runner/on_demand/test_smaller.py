"""A model that runs out of memory while it wakes is tried smaller, and whoever waits is told."""

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from on_demand_runs import Machine, asleep, during
from supervisor_runs import collect, greedy

from edgellm.chat.messages import Claim
from edgellm.errors import DoesNotFit, NotServing

pytestmark = pytest.mark.model


def test_a_smaller_plan_is_kept_for_the_next_stays():
    machine = Machine(budget=20)
    machine.trouble["one"] = lambda engine, smaller: smaller(replace(engine.plan, n_ctx=2048))

    async def scenario():
        one = machine.model("one", needs=8)
        await one.start()
        n_ctx = one.plan.n_ctx
        one.lease.dismiss()
        await asleep(one)
        await one.tokenize("a", False)
        return n_ctx, one.plan.n_ctx

    assert during(machine, scenario) == (2048, 2048)


def test_who_waits_for_one_that_ran_out_of_memory_is_answered_by_the_smaller():
    machine = Machine()
    late = []

    def runs_out(engine, smaller):
        async def start():
            await asyncio.sleep(0.05)  # somebody waits
            engine._give_up(DoesNotFit("2 GiB short"))
            late.append(asyncio.create_task(machine.engines["one"].tokenize("late", False)))
            await asyncio.sleep(0.05)
            await smaller(replace(engine.plan, n_ctx=2048)).start()

        return SimpleNamespace(start=start)

    async def scenario():
        one = machine.model("one")
        machine.trouble["one"] = runs_out
        asked = (collect(one, "Once upon", greedy(5)), one.tokenize("a", False))
        (_, ended), told = await asyncio.gather(*asked)
        return ended.n_output, len(told.tokens) > 0, len((await late[0]).tokens) > 0

    assert during(machine, scenario) == (5, True, True)


def test_a_deadline_that_passes_while_a_smaller_plan_is_looked_for_is_told_then():
    machine = Machine()
    told = asyncio.Event()

    def runs_out(engine, smaller):
        async def start():
            await asyncio.sleep(0.05)  # somebody waits
            engine._give_up(DoesNotFit("2 GiB short"))
            await told.wait()
            await smaller(replace(engine.plan, n_ctx=2048)).start()

        return SimpleNamespace(start=start)

    async def scenario():
        one = machine.model("one")
        machine.trouble["one"] = runs_out
        soon = Claim(deadline_s=time.monotonic() + 0.2)
        late = await collect(one, "Once upon", greedy(5, claim=soon))
        told.set()
        return late, await collect(one, "Once upon", greedy(5))

    (text, failed), (_, ended) = during(machine, scenario)
    assert (text, failed.kind, failed.http_status) == ("", "DeadlinePassed", 504)
    assert ended.n_output == 5, "the smaller one answers who comes then"


@pytest.mark.parametrize("last", [DoesNotFit("nothing smaller"), OSError("no more files")])
def test_who_waits_is_told_when_nothing_smaller_loads(last):
    machine = Machine()

    def runs_out(engine, smaller):
        async def start():
            await asyncio.sleep(0.05)
            engine._give_up(DoesNotFit("2 GiB short"))
            await asyncio.sleep(0.05)
            raise last

        return SimpleNamespace(start=start)

    async def scenario():
        one = machine.model("one")
        machine.trouble["one"] = runs_out
        asked = (collect(one, "Once upon", greedy(5)), one.tokenize("a", False))
        told = await asyncio.gather(*asked, return_exceptions=True)
        await asleep(one)
        return told

    (text, failed), error = during(machine, scenario)
    assert (text, failed.kind, failed.message) == ("", "DoesNotFit", "2 GiB short")
    assert isinstance(error, DoesNotFit)


def test_one_that_can_not_be_loaded_tells_whoever_waits_and_is_tried_again():
    machine = Machine()

    def does_not(engine, smaller):
        raise DoesNotFit("too large today")

    async def scenario():
        one = machine.model("one")
        machine.trouble["one"] = does_not
        with pytest.raises(DoesNotFit, match="too large today"):
            await one.start()
        assert one.state == "sleeping"
        return (await collect(one, "Once upon", greedy(3)))[1].n_output

    assert during(machine, scenario) == 3


def test_one_that_was_stopped_is_not_tried_smaller():
    machine = Machine()
    stopped = []

    def stops(engine, smaller):
        one = machine.engines["one"]
        stopped.append(asyncio.create_task(one.stop(0.1)))

        async def then_smaller():
            await stopped[0]
            await smaller(engine.plan).start()

        return SimpleNamespace(start=then_smaller)

    async def scenario():
        one = machine.model("one")
        machine.trouble["one"] = stops
        with pytest.raises(NotServing):
            await one.start()
        await asyncio.sleep(0.1)
        return one.pid

    assert during(machine, scenario) is None
