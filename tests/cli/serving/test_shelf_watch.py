import asyncio
import threading

from cli.serving.fleet_fakes import fleet, prepared

from edgellm.cli.preparing.shelf import Change
from edgellm.cli.serving.shelf_watch import Following, ShelfWatch
from edgellm.errors import DoesNotFit, StorageError
from edgellm.runner.on_demand.caretaker import Caretaker
from edgellm.runner.on_demand.room import Room


def a_fleet():
    room = Room({"cpu": 10**12, "host": 10**12})
    return fleet(caretaker=Caretaker(room))


def asleep(name, **changes):
    return prepared(name, sleeps=True, **changes)


def names(made):
    return [one.name for one in made.models]


def test_what_comes_is_served_and_what_goes_is_not():
    made, _, said = a_fleet()

    async def scenario():
        made.add(asleep("one"))
        looks = [Change((asleep("two"),), frozenset()), StorageError("the disk is away")]
        looks += [DoesNotFit("not even the demo"), FileNotFoundError("gone while it was read")]
        looks += [Change((), frozenset({"one"}))]

        class Shelf:
            def look(self):
                if not looks:
                    loop.call_soon_threadsafe(task.cancel)
                    return Change()
                look = looks.pop(0)
                if isinstance(look, Exception):
                    raise look
                return look

        loop = asyncio.get_running_loop()
        task = asyncio.create_task(ShelfWatch(Shelf(), said.append, 0.001).errand(made))
        await asyncio.gather(task, return_exceptions=True)
        return names(made)

    assert asyncio.run(scenario()) == ["two"]
    assert said == [
        "two is served, too: Q8_0, 4 × 512 tokens, 1.2 KiB", "one is no longer on this disk",
    ]  # fmt: skip


def test_what_comes_is_served_though_who_waited_for_it_has_left():
    """A client that pulled it hangs up while the disk is looked at."""
    made, _, said = a_fleet()
    looks, may_end = [], threading.Event()
    loop = looking = None

    class Shelf:
        def look(self):
            looks.append(len(looks))
            loop.call_soon_threadsafe(looking.set)
            may_end.wait()
            return Change((asleep("one"),) if looks == [0] else ())

    async def scenario():
        nonlocal loop, looking
        loop, looking = asyncio.get_running_loop(), asyncio.Event()
        shelved = ShelfWatch(Shelf(), said.append, 3600)
        errand = asyncio.create_task(shelved.errand(made))
        await asyncio.sleep(0)
        client = asyncio.create_task(shelved.refresh())
        await looking.wait()
        client.cancel()
        await asyncio.gather(client, return_exceptions=True)
        may_end.set()
        await shelved.refresh()
        errand.cancel()
        return names(made)

    assert asyncio.run(scenario()) == ["one"]


def test_one_that_answers_goes_when_it_sleeps_and_a_newer_one_comes_then():
    made, _, said = a_fleet()

    async def scenario():
        old = await made.load(asleep("one", created_s=1))
        follow = Following(made, said.append)
        follow.note(Change((asleep("one", created_s=2),), frozenset({"one"})))
        await follow.settle()
        before = [one.created for one in made.models]
        while old.engine.state != "sleeping":  # noqa: ASYNC110 - nobody tells it
            await asyncio.sleep(0.001)
        await follow.settle()
        return before, [one.created for one in made.models]

    assert asyncio.run(scenario()) == ([1], [2])


def test_one_that_comes_and_goes_before_it_was_served_never_was():
    made, _, said = a_fleet()

    async def scenario():
        made.add(asleep("old"))
        follow = Following(made, said.append)
        follow.note(Change((asleep("one"),), frozenset()))
        follow.note(Change((), frozenset({"one"})))
        await follow.settle()
        return names(made)

    assert asyncio.run(scenario()) == ["old"]
    assert said == []
