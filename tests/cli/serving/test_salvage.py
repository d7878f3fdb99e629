import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from cli.serving.test_engines import fleet, halved
from selector_specs import dense
from server.server_fakes import hardware
from server.server_fakes import plan as any_plan

from edgellm.chat.template import ChatTemplate
from edgellm.cli.preparing.prepare import Prepared
from edgellm.cli.serving.salvage import Salvage, remaining
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


def salvaged(on, seen):
    """What was said, the fleet, and the machines that were planned for."""
    made, garage, said = fleet()
    used = []

    async def scenario():
        served = await made.load(prepared(on))
        salvage = Salvage(
            made, two_cards(), say=said.append, use=used.append, look=lambda: seen
        )  # fmt: skip
        salvage.noticed(served, OK)
        assert not salvage._moves, "good news moves nothing"
        salvage.noticed(served, LOST)
        salvage.noticed(served, LOST)
        await asyncio.gather(*salvage._moves)

    asyncio.run(scenario())
    return said, made, garage, used


def test_a_lost_device_is_planned_without_loaded_again_and_said():
    def on(machine):
        ids = [device.id for device in machine.accelerators]
        return replace(prepared(on), plan=on_cards(*ids))

    said, made, garage, used = salvaged(on, one_card())
    old, new = garage.engines
    (served,) = made.models

    assert said == [
        f"{GONE} is lost: planning tiny on what is left",
        "tiny is served again: Q8_0, 4 × 512 tokens, 100 B",
    ]
    assert (old.state, new.state) == ("stopped", "ready")
    assert served.engine is new
    assert new.plan.placement.device_ids == (KEPT,)
    assert [device.ggml_name for device in used[0].devices] == ["CUDA0", None]


def test_a_silent_sensor_moves_nothing():
    said, _, garage, used = salvaged(None, two_cards())

    assert set(said) == {"tiny: its devices are all there, only a sensor is silent"}
    assert [engine.state for engine in garage.engines] == ["ready"]
    assert used == []


def test_what_no_longer_fits_is_said():
    def on(machine):
        raise DoesNotFit("8 GiB short")

    said, _, garage, _ = salvaged(on, one_card())
    assert "tiny can't be served without it: 8 GiB short" in said
    assert len(garage.engines) == 1


def test_what_is_left_keeps_its_first_memory_and_gets_its_names_of_now():
    left = remaining(two_cards(), one_card())

    assert [(d.id, d.ggml_name) for d in left.devices] == [(KEPT, "CUDA0"), ("cpu", None)]
    assert {pool.id for pool in left.pools} == {KEPT, "host"}
    assert left.peers == ()
    with pytest.raises(StopIteration):
        left.device(GONE)
