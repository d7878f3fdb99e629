import asyncio
import itertools
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cli.serving.fleet_fakes import fleet, halved
from selector_specs import dense
from server.server_fakes import hardware
from server.server_fakes import plan as any_plan

from edgellm.chat.templating.template import ChatTemplate
from edgellm.cli.preparing import machine
from edgellm.cli.preparing.prepare import Prepared
from edgellm.cli.serving.salvage import Salvage, _Doubt, look_again, pauses_s, remaining
from edgellm.errors import DoesNotFit
from edgellm.meter.health import OK, Finding, Health
from edgellm.probe.hardware import Device, MemoryPool, PeerLink
from edgellm.selector.plan import Placement, Share

GONE, KEPT = "0000:01:00.0", "0000:02:00.0"
LOST = Health("lost", Finding("lost_device", f"{GONE} no longer answers"), 3.0)


def two_cards():
    one = hardware()
    second = Device(KEPT, "nvidia", "RTX", "cuda", KEPT, ggml_name="CUDA1")
    first, cpu = one.devices
    return replace(
        one,
        devices=(first, second, cpu),
        pools=(*one.pools, MemoryPool(KEPT, "dedicated", 8000, None)),
        peers=(PeerLink(GONE, KEPT, "nvlink"),),
    )


def one_card():
    """As the probe sees it afterwards: what is left is counted from 0."""
    whole = two_cards()
    _, kept, cpu = whole.devices
    pools = tuple(pool for pool in whole.pools if pool.id != GONE)
    return replace(whole, devices=(replace(kept, ggml_name="CUDA0"), cpu), pools=pools, peers=())


def on_cards(*ids):
    shares = tuple(Share(id_, id_, (0,), 100, 0, 0) for id_ in ids)
    return replace(any_plan(), placement=Placement((*shares, Share("cpu", "host", (), 0, 0, 0)), 2))


def prepared(on):
    plan = on_cards(GONE, KEPT)
    return Prepared("tiny", Path("t.gguf"), plan, halved, ChatTemplate(None), dense(), on=on)


def salvaged(on, *seen, missing=None):
    """What was said, the fleet, and the machines that were planned for. `seen`: what each look
    finds; after the last one all is said to be well again. `missing`: llama.cpp's word."""
    made, garage, said = fleet()
    used, looks = [], list(seen)

    async def scenario():
        served = await made.load(prepared(on))
        served.engine.missing_device = missing

        def look():
            if len(looks) == 1:
                loop.call_soon_threadsafe(salvage.noticed, served, OK)
            return looks.pop(0)

        loop = asyncio.get_running_loop()
        salvage = Salvage(
            made, two_cards(), say=said.append, uses=[used.append], look=look, again_s=0.01
        )
        salvage.noticed(served, OK)
        assert not salvage._moves, "good news moves nothing"
        salvage.noticed(served, LOST)
        salvage.noticed(served, LOST)
        assert len(salvage._moves) == 1
        await asyncio.gather(*salvage._moves)

    asyncio.run(scenario())
    assert not looks
    return said, made, garage, used


def on_what_is_left(machine):
    ids = [device.id for device in machine.accelerators]
    return replace(prepared(on_what_is_left), plan=on_cards(*ids))


def test_a_lost_device_is_planned_without_loaded_again_and_said():
    said, made, garage, used = salvaged(on_what_is_left, one_card())
    old, new = garage.engines
    (served,) = made.models

    assert said == [
        f"tiny: {GONE} is lost: it is planned on what is left",
        "tiny: it is served again: Q8_0, 4 × 512 tokens, 100 B",
    ]
    assert list(new.log) == said, "the screen's log goes on with the engine"
    assert (old.state, new.state) == ("stopped", "ready")
    assert served.engine is new
    assert new.plan.placement.device_ids == (KEPT,)
    assert [device.ggml_name for device in used[0].devices] == ["CUDA0", None]


def test_those_that_sleep_are_planned_without_it_too_and_sleep_on():
    made, _, said = fleet()

    def on(machine):
        return replace(on_what_is_left(machine), name="asleep")

    async def scenario():
        awake = await made.load(prepared(on_what_is_left))
        made.add(replace(prepared(on), name="asleep", sleeps=True))
        salvage = Salvage(made, two_cards(), say=said.append, uses=(), look=one_card, again_s=0.01)
        salvage.noticed(awake, LOST)
        await asyncio.gather(*salvage._moves)
        asleep = made.models.find("asleep").engine
        return asleep.state, asleep.plan.placement.device_ids

    assert asyncio.run(scenario()) == ("sleeping", (KEPT,))
    assert "asleep: it is served again: Q8_0, 4 × 512 tokens, 100 B" in said


def test_a_silent_sensor_moves_nothing():
    said, _, garage, used = salvaged(None, two_cards())

    assert said == ["tiny: its devices are all there, only a sensor is silent"]
    assert [engine.state for engine in garage.engines] == ["ready"]
    assert used == []


def test_a_word_of_llama_cpp_is_no_silent_sensor():
    said, _, _, used = salvaged(None, two_cards(), missing="llama.cpp finds no device 'CUDA1'")

    assert said == ["tiny: its devices are all there, though llama.cpp finds no device 'CUDA1'"]
    assert used == []


def test_each_look_is_waited_for_twice_as_long_as_the_one_before():
    pauses = list(itertools.islice(pauses_s(30.0), 7))

    assert pauses == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]
    began_s = time.monotonic()
    salvaged(None, *[two_cards()] * 6)
    assert time.monotonic() - began_s > 0.01 + 0.02 + 0.04 + 0.08 + 0.16


def test_one_that_is_well_again_is_not_waited_for():
    """Else each flicker of a sensor would leave another that looks."""

    async def scenario():
        made, _, _ = fleet()
        served = await made.load(prepared(None))
        looked = asyncio.Event()
        loop = asyncio.get_running_loop()

        def look():
            loop.call_soon_threadsafe(looked.set)
            return two_cards()

        salvage = Salvage(made, two_cards(), say=[].append, uses=(), look=look, again_s=60)
        salvage.noticed(served, LOST)
        (move,) = salvage._moves
        await looked.wait()
        salvage.noticed(served, OK)
        await asyncio.wait_for(move, 60)

    asyncio.run(scenario())


async def doubted(pause_s=600.0):
    """A model with a silent sensor that was looked at once. Its fleet, its salvage, itself, the
    looks so far, and what was said. A look finds a card missing when the worker says so."""
    made, _, _ = fleet()
    served = await made.load(prepared(on_what_is_left))
    looks, said, is_said = [], [], asyncio.Event()

    def look():
        looks.append(one_card() if served.engine.missing_device else two_cards())
        return looks[-1]

    def say(text):
        said.append(text)
        is_said.set()

    salvage = Salvage(made, two_cards(), say=say, uses=(), look=look, again_s=0.01)
    salvage._doubts[served.engine] = _Doubt(itertools.chain([pause_s], pauses_s(600.0)))
    salvage.noticed(served, LOST)
    await asyncio.wait_for(is_said.wait(), 60)
    return made, salvage, served, looks, said


async def ended(salvage):
    await asyncio.wait_for(asyncio.gather(*salvage._moves), 60)


async def flicker(salvage, served):
    salvage.noticed(served, OK)
    await asyncio.sleep(0.02)
    salvage.noticed(served, LOST)
    await asyncio.sleep(0.02)


def test_a_device_that_llama_cpp_misses_is_looked_for_at_once_however_long_the_pause():
    async def scenario():
        _, salvage, served, looks, said = await doubted()
        served.engine.missing_device = "llama.cpp finds no device 'CUDA0'"
        await ended(salvage)
        assert len(looks) == 2
        assert said[1] == f"tiny: {GONE} is lost: it is planned on what is left"

    asyncio.run(scenario())


def test_one_that_is_no_longer_served_is_not_waited_for():
    async def scenario():
        made, salvage, served, looks, _ = await doubted()
        made.models.swap(served, replace(served, name="other"))
        await ended(salvage)
        assert len(looks) == 1

    asyncio.run(scenario())


def test_a_sensor_that_flickers_is_not_looked_after_each_time():
    async def scenario():
        _, salvage, served, looks, _ = await doubted()
        for _ in range(3):
            await flicker(salvage, served)
        assert (len(looks), len(salvage._moves)) == (1, 1)
        salvage.stop()

    asyncio.run(scenario())


def test_a_pause_goes_on_to_grow_when_a_sensor_flickers():
    async def scenario():
        _, salvage, served, looks, _ = await doubted(pause_s=0.1)
        for _ in range(6):
            await flicker(salvage, served)
        assert len(looks) == 2, "the second pause is no shorter than the first"
        salvage.stop()

    asyncio.run(scenario())


def test_a_word_of_llama_cpp_that_comes_again_after_all_was_well_is_looked_into_again():
    word = "llama.cpp finds no device 'CUDA0'"

    async def scenario():
        _, salvage, served, looks, _ = await doubted()
        salvage._doubts[served.engine].word = word
        salvage.noticed(served, OK)
        await ended(salvage)
        served.engine.missing_device = word
        salvage.noticed(served, LOST)
        await ended(salvage)
        assert len(looks) == 2

    asyncio.run(scenario())


@pytest.mark.slow
def test_looking_again_says_nothing_of_drivers_that_are_waited_for(tmp_path, monkeypatch, capfd):
    """An answer may be being written."""
    slow = tmp_path / "cnmon"
    slow.write_text("#!/bin/sh\nsleep 2\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert machine.look().host.total_bytes > 0
    assert "waiting for cambricon" in capfd.readouterr().err
    assert look_again().host.total_bytes > 0
    assert capfd.readouterr().err == ""


def test_a_device_that_only_a_later_look_misses_is_given_up_then():
    said, _, garage, _ = salvaged(on_what_is_left, two_cards(), two_cards(), one_card())

    assert said[0].endswith("only a sensor is silent")
    assert said[1].startswith(f"tiny: {GONE} is lost")
    assert said[2].startswith("tiny: it is served again")
    assert len(said) == 3
    assert len(garage.engines) == 2


def unlisted(registries):
    """Its files are still there, and llama.cpp has no name for it."""
    whole = two_cards()
    cards = [replace(card, ggml_name=None) for card in whole.devices]
    return replace(whole, devices=(*cards,), ggml_registries=registries)


def test_a_card_that_llama_cpp_lists_no_more_is_lost_though_its_files_are_there():
    _, made, _, used = salvaged(on_what_is_left, unlisted(("CUDA", "CPU")))
    (served,) = made.models

    assert served.engine.plan.placement.device_ids == ()
    assert [device.id for device in used[0].devices] == ["cpu"]


def test_a_list_that_could_not_be_had_loses_nothing():
    said, _, _, used = salvaged(None, unlisted(()))

    assert "all there" in said[0]
    assert used == []


def test_what_no_longer_fits_is_said():
    def on(machine):
        raise DoesNotFit("8 GiB short")

    said, _, garage, _ = salvaged(on, one_card())
    assert "tiny: it can't be served without: 8 GiB short" in said
    assert len(garage.engines) == 1


def test_what_is_left_keeps_its_first_memory_and_gets_its_names_of_now():
    left = remaining(two_cards(), one_card())

    assert [(d.id, d.ggml_name) for d in left.devices] == [(KEPT, "CUDA0"), ("cpu", None)]
    assert {pool.id for pool in left.pools} == {KEPT, "host"}
    assert left.peers == ()
    with pytest.raises(StopIteration):
        left.device(GONE)


def npus(*ids):
    whole = hardware()
    cards = [
        Device(id_, "huawei", "Ascend910B3", "cann", id_, ggml_name=f"CANN{n}")
        for n, id_ in enumerate(ids)
    ]
    pools = [MemoryPool(id_, "dedicated", 8000, None) for id_ in ids]
    host = whole.pools[-1]
    return replace(whole, devices=(*cards, whole.devices[-1]), pools=(*pools, host))


def test_devices_whose_vendors_tool_is_silent_and_that_llama_cpp_lists_all_are_there():
    """Nobody told this time which of them is at which address."""
    before = npus(GONE, KEPT)
    assert remaining(before, npus("CANN0", "CANN1")) == before
    assert [d.id for d in remaining(before, npus("CANN0")).devices] == ["cpu"]


def test_a_device_keeps_its_address_in_llama_cpps_words_of_now():
    before = npus(GONE, KEPT)
    cards = [replace(d, ggml_address=d.id) for d in before.devices[:2]]
    now = replace(before, devices=(*cards, before.devices[-1]))

    assert [d.ggml_address for d in remaining(before, now).devices] == [GONE, KEPT, None]
