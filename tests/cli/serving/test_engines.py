import asyncio
import threading

import pytest
from cli.serving.fleet_fakes import IDLE, fleet, halved, prepared
from server.server_fakes import hardware
from server.server_fakes import plan as any_plan

from edgellm.chat.defaults import Defaults
from edgellm.chat.events import Finished
from edgellm.cli.serving.engines import describe
from edgellm.errors import BadGGUF, DoesNotFit, NotServing, WorkerDied
from edgellm.runner.adapters import Adapter
from edgellm.runner.messages import Gauge

BUSY = Gauge(0, 1, 0, 1024, 9, 0, 0, 0, 0, 0)


def test_a_model_is_listed_while_it_loads():
    made, garage, _ = fleet()

    async def look():
        loading = asyncio.create_task(made.load(prepared()))
        await asyncio.sleep(0)
        states = [served.engine.state for served in made.models]
        await loading
        return states

    assert asyncio.run(look()) == ["loading"]
    assert made.models.find("tiny").engine is garage.engines[0]


@pytest.mark.parametrize(("sleeps", "troubles"), [(False, [DoesNotFit("2 GiB short")]), (True, [])])
def test_how_far_an_answer_came_whose_reader_left_is_told_with_its_model(sleeps, troubles):
    made, garage, _ = fleet(*troubles)
    told, ending = [], Finished("cancelled", 7, 3, 2)

    served = asyncio.run(made.load(prepared(sleeps=sleeps)))
    made.on_left = lambda *words: told.append(words)
    garage.engines[-1].on_left("anna", ending)

    assert told == [(served, "anna", ending)]


def test_the_names_that_it_was_given_outlive_the_model():
    made, _, _ = fleet(aliases=("gpt-4o-mini",))

    async def swapped():
        old = await made.load(prepared("demo"))
        return await made.swap(old, prepared("real"))

    assert asyncio.run(swapped()) is made.models.find("gpt-4o-mini")


def test_out_of_memory_tries_the_next_smaller_plan_and_says_so():
    made, garage, said = fleet(DoesNotFit("2 GiB short"), DoesNotFit("1 GiB short"))

    served = asyncio.run(made.load(prepared()))

    assert [engine.plan.n_ctx_seq for engine in garage.engines] == [512, 256, 128]
    assert served.engine.plan.n_ctx_seq == 128
    assert list(made.models) == [served]
    assert said[0] == "tiny did not load: 2 GiB short"
    assert said[1] == "trying a smaller plan: 4 × 256 tokens instead of 4 × 512 tokens"
    assert len(said) == 4


def test_a_smaller_plan_is_made_while_other_answers_go_on():
    made, garage, _ = fleet(DoesNotFit("2 GiB short"))
    threads = []

    def replan(plan, n_before):
        threads.append(threading.current_thread())
        return halved(plan, n_before)

    asyncio.run(made.load(prepared(replan=replan)))

    assert len(garage.engines) == 2
    assert threading.main_thread() not in threads, "it asks llama.cpp, for seconds perhaps"


def test_after_three_smaller_plans_it_gives_up():
    made, garage, _ = fleet(*(DoesNotFit(f"try {i}") for i in range(9)))

    with pytest.raises(DoesNotFit, match="try 3"):
        asyncio.run(made.load(prepared(replan=lambda plan, n_before: plan)))
    assert len(garage.engines) == 4


def test_it_gives_up_when_nothing_smaller_is_left():
    made, garage, _ = fleet(*(DoesNotFit(f"try {i}") for i in range(9)))

    with pytest.raises(DoesNotFit, match="try 2"):
        asyncio.run(made.load(prepared()))
    assert len(garage.engines) == 3


def test_a_bad_file_is_not_tried_again():
    made, garage, _ = fleet(BadGGUF("broken"))

    with pytest.raises(BadGGUF):
        asyncio.run(made.load(prepared()))
    assert len(garage.engines) == 1


def test_a_swap_keeps_the_old_model_until_the_new_one_is_ready_and_ends_it_then():
    made, garage, _ = fleet()

    async def swap():
        old = await made.load(prepared("demo"))
        garage.engines[0].gauge = BUSY
        swapping = asyncio.create_task(made.swap(old, prepared("real")))
        await asyncio.sleep(0.7)
        names, state = [one.name for one in made.models], garage.engines[0].state
        garage.engines[0].gauge = IDLE
        await swapping
        return names, state

    assert asyncio.run(swap()) == (["real"], "ready")
    assert garage.engines[0].state == "stopped"


def test_what_is_swapped_for_one_that_sleeps_sleeps_too():
    made, _, _ = fleet()

    async def swap():
        old = await made.load(prepared("demo", sleeps=True))
        new = await made.swap(old, prepared("real"))
        new.engine.lease.dismiss()
        while new.engine.state != "sleeping":  # noqa: ASYNC110 - nobody tells it
            await asyncio.sleep(0.001)
        return [one.name for one in made.models], old.engine.state

    assert asyncio.run(swap()) == (["real"], "stopped")


def test_one_that_sleeps_and_can_not_be_swapped_in_is_not_tried_again():
    made, garage, _ = fleet(None, WorkerDied("broken file"))

    async def swap():
        old = await made.load(prepared("demo", sleeps=True))
        with pytest.raises(WorkerDied):
            await made.swap(old, prepared("real"))
        await asyncio.sleep(0.01)
        return [one.name for one in made.models]

    assert asyncio.run(swap()) == ["demo"]
    states = [one.state for one in garage.engines if one.plan.model == "real"]
    assert states == ["failed", "stopped"], "that of its next stay, too"


def test_a_swap_that_fails_changes_nothing():
    made, garage, _ = fleet(None, BadGGUF("broken"))

    async def swap():
        old = await made.load(prepared("demo"))
        with pytest.raises(BadGGUF):
            await made.swap(old, prepared("real"))

    asyncio.run(swap())
    assert [one.name for one in made.models] == ["demo"]
    assert garage.engines[0].state == "ready"


def test_stopping_waits_for_what_listens_and_not_for_what_loads():
    made, garage, _ = fleet(None, DoesNotFit("no"), DoesNotFit("no"), DoesNotFit("no"))

    async def load_and_stop():
        await made.load(prepared())
        with pytest.raises(DoesNotFit):
            await made.load(prepared("other", replan=lambda plan, n_before: None))
        await made.stop()

    asyncio.run(load_and_stop())
    assert garage.engines[0].stopped == [5.0]
    assert garage.engines[1].stopped == [0.2]


def test_a_model_that_is_stopped_while_it_loads_is_not_served():
    made, garage, _ = fleet()

    async def load_and_stop():
        loading = asyncio.create_task(made.load(prepared()))
        await asyncio.sleep(0)
        garage.engines[0].is_slow = True
        await made.stop()
        with pytest.raises(NotServing):
            await loading

    asyncio.run(load_and_stop())


def test_a_model_that_is_moved_while_it_loads_is_served_where_it_was_moved_to():
    made, garage, _ = fleet()

    async def load_and_move():
        here = prepared(on=lambda machine: prepared())
        loading = asyncio.create_task(made.load(here))
        await asyncio.sleep(0)
        garage.engines[0].is_slow = True
        (served,) = made.models
        moved, loaded = await asyncio.gather(made.move(served, hardware()), loading)
        return moved, loaded

    moved, loaded = asyncio.run(load_and_move())
    assert moved is loaded
    assert [engine.state for engine in garage.engines] == ["stopped", "ready"]


def test_a_model_that_is_moved_is_served_as_it_was():
    made, _, _ = fleet()
    defaults = Defaults({"temperature": 0.5})

    async def scenario():
        told = {"aliases": ("mini",), "may_go": True, "defaults": defaults}
        served = await made.load(prepared(on=lambda machine: prepared(), **told))
        return await made.move(served, hardware())

    moved = asyncio.run(scenario())
    assert "mini" in moved.aliases
    assert (moved.may_go, moved.defaults) == (True, defaults)


def test_a_repositorys_model_answers_to_its_shorter_names():
    made, _, _ = fleet()

    asyncio.run(made.load(prepared("hf.co/org/repo:Q8_0")))

    for name in ("hf.co/org/repo:Q8_0", "org/repo:Q8_0", "repo:Q8_0", "repo", "REPO"):
        assert made.models.find(name).name == "hf.co/org/repo:Q8_0"


def test_a_plan_in_a_few_words():
    assert describe(any_plan()) == "Q8_0, 4 × 512 tokens, 1.2 KiB"


def test_a_model_that_moves_takes_its_adapters_along():
    made, garage, _ = fleet()
    first, later = Adapter(0, "first", "f.gguf", 1.0), Adapter(1, "later", "l.gguf")

    def on(machine):
        return prepared(adapters=(first,))

    async def scenario():
        served = await made.load(prepared(adapters=(first,), on=on))
        served.engine.adapters.add(later)
        await made.move(served, hardware())

    asyncio.run(scenario())
    assert [tuple(engine.adapters) for engine in garage.engines] == [(first, later)] * 2
