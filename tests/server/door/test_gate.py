import asyncio

import pytest
from server.server_fakes import FakeEngine, plan, served, words

from edgellm.chat.messages import GenerateParams
from edgellm.errors import Overloaded
from edgellm.meter.guardrails import Ceilings
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Cpu, Device, Hardware, MemoryPool
from edgellm.server.answers import Asked, Counter, answer
from edgellm.server.app import create_app
from edgellm.server.door.gate import Gate
from edgellm.server.door.terms import Terms
from edgellm.server.served import Models
from edgellm.server.watch.live import Watched
from edgellm.server.watch.metrics import Metrics


class Room:
    """Its time passes only when somebody sleeps; it cools by `cools_c` a second."""

    def __init__(self, temperature_c, cools_c=0.0, ceiling_c=85.0):
        self.now_s, self.temperature_c, self.cools_c = 0.0, temperature_c, cools_c
        self.told = []
        self.gate = Gate(
            Ceilings(temperature_c=ceiling_c),
            self.samples,
            clock=lambda: self.now_s,
            sleep=self.sleep,
            tell=self.told.append,
        )

    def samples(self):
        return (Sample("gpu", self.now_s, temperature_c=self.temperature_c),)

    async def sleep(self, seconds):
        self.now_s += seconds
        self.temperature_c -= self.cools_c * seconds
        await asyncio.sleep(0)


def test_in_a_cool_room_nobody_waits():
    room = Room(60.0)
    asyncio.run(room.gate.enter())
    assert room.now_s == 0.0


def test_near_the_ceiling_each_request_waits_after_the_one_before():
    room = Room(82.5)

    async def crowd():
        await asyncio.gather(*(room.gate.enter() for _ in range(4)))

    asyncio.run(crowd())
    assert room.now_s == 4.0


def test_at_the_ceiling_it_opens_by_itself_when_it_is_cool():
    room = Room(86.0, cools_c=1.0)
    asyncio.run(room.gate.enter())
    assert (room.now_s, room.gate.reason) == (6.0, None)


def test_that_requests_wait_is_told_once_and_its_end_when_it_has_lasted():
    room = Room(60.0)
    for temperature_c in (60.0, 82.0, 84.0, 79.0, 82.0, 79.0):
        room.temperature_c = temperature_c
        room.gate.tick()
        room.now_s += 5.0
    assert room.told == ["new requests wait: gpu has 82 °C, the ceiling is 85 °C"]
    room.gate.tick()
    room.now_s += 5.0
    room.gate.tick()
    assert room.told[1:] == ["new requests wait no longer"]


def test_a_room_that_never_cools_slows_the_server_and_does_not_stop_it():
    room = Room(90.0)
    asyncio.run(room.gate.enter())
    assert room.now_s == 30.0
    assert "the ceiling is 85 °C" in room.gate.reason


def test_a_crowd_that_waits_already_turns_others_away():
    room = Room(90.0)

    async def crowd():
        waiting = [asyncio.create_task(room.gate.enter()) for _ in range(512)]
        await asyncio.sleep(0)
        try:
            await room.gate.enter()
        finally:
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    with pytest.raises(Overloaded, match="512 requests wait because gpu has 90"):
        asyncio.run(crowd())


def test_no_request_reaches_the_engine_before_the_gate_opens():
    room, engine = Room(86.0, cools_c=1.0), FakeEngine(plan(), [words("a b")])
    asked_s = []

    async def scenario():
        answers = answer(
            served(engine=engine),
            Asked(("x",), GenerateParams(), "prompt"),
            Counter(Metrics(), room.gate.enter),
        )
        asked_s.extend([room.now_s async for _ in answers])

    asyncio.run(scenario())
    assert len(engine.asked) == 1
    assert asked_s[0] == 6.0


def test_the_servers_gate_knows_whose_watts_another_sensor_tells_as_well():
    pool = MemoryPool("host", "unified", 64 << 30, None)
    devices = (
        Device("0000:c1:00.0", "amd", "Radeon 8060S", "vulkan", "host"),
        Device("cpu", "cpu", "Ryzen", "cpu", "host"),
    )
    samples = (
        Sample("0000:c1:00.0", 0.0, power_w=60.0),
        Sample("cpu", 0.0, power_w=62.0, energy_j=9.0),
    )
    watched = Watched(Hardware(devices, (pool,), Cpu("Ryzen", 16, 32, ())), lambda: samples)
    app = create_app(Models(), terms=Terms(ceilings=Ceilings(power_w=100.0)), watched=watched)

    assert app.state.gateway.gate.reason is None
