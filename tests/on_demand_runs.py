"""Models that are loaded on demand, by real workers, on a machine that has room for one or two."""

import asyncio
from dataclasses import replace

from real_model import demo_path, plan

from edgellm.runner.on_demand.caretaker import Caretaker
from edgellm.runner.on_demand.engine import OnDemand
from edgellm.runner.on_demand.room import Room
from edgellm.runner.supervisor import Supervisor
from edgellm.selector.plan import Placement, Share

WITHIN_S = 120


class Machine:
    """Its models take 6 of 10 bytes each: one fits, or as many as `budget` says."""

    def __init__(self, budget=10, keep_s=float("inf"), max_queue=512):
        self.asked = []  # of the caretaker's look: what was taken
        self.budget = budget
        self.caretaker = Caretaker(Room({}), look=self.look)
        self.keep_s = keep_s
        self.max_queue, self.engines, self.started = max_queue, {}, []
        self.trouble = {}  # by model: what its next start raises

    def model(self, name, needs=6, prefix_ram_bytes=0):
        share = Share("cpu", "cpu", (), needs, 0, 0)
        planned = replace(
            plan(),
            model=name,
            placement=Placement((share,), 0),
            prefix_ram_bytes=prefix_ram_bytes,
        )
        self.engines[name] = OnDemand(self.caretaker, planned, self.new, self.start, self.keep_s)
        return self.engines[name]

    def new(self, planned):
        return Supervisor(str(demo_path()), planned, max_queue=self.max_queue)

    async def start(self, engine, smaller):
        self.started.append(engine.plan.model)
        if trouble := self.trouble.pop(engine.plan.model, None):
            engine.path = "/nowhere.gguf"  # the real worker's own words are another test's
            engine = trouble(engine, smaller)
        await engine.start()

    def look(self, taken, since_s):
        self.asked.append(taken)
        return {"cpu": self.budget}

    @property
    def there(self):
        return {name for name, one in self.engines.items() if one.tenant.here}


def during(machine, scenario):
    async def run():
        try:
            return await asyncio.wait_for(scenario(), WITHIN_S)
        finally:
            await asyncio.gather(*(one.stop() for one in machine.engines.values()))

    return asyncio.run(run())


async def asleep(*engines):
    while any(one.state != "sleeping" for one in engines):  # noqa: ASYNC110 - nobody tells it
        await asyncio.sleep(0.01)
