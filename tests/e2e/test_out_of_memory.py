"""Memory that really runs out: the worker's address space is cut while it loads."""

import asyncio
import sys

import psutil
import pytest
from selector_machines import machine
from supervisor_runs import limit_address_space

from edgellm.cli.preparing.prepare import prepare
from edgellm.cli.preparing.resolve import demo
from edgellm.cli.serving.engines import Fleet, supervise
from edgellm.errors import DoesNotFit
from edgellm.selector.plan import Goal

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process"),
]
ROOMY = Goal(n_parallel=256)  # of the demo: a KV cache of 512 MiB, and of little else
PINNED = Goal(n_parallel=256, n_ctx_seq=1024, kv_type_k="f16", kv_type_v="f16")


@pytest.fixture
def plain(monkeypatch):
    """What a worker takes of its address space with a small cache."""
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")  # else glibc reserves 64 MiB for each thread

    async def measure():
        fleet = Fleet(8, lambda text: None)
        small = prepare(demo(), machine(ram=16), Goal(n_parallel=1), uses_tuned=False)
        served = await fleet.load(small)
        vms = psutil.Process(served.engine.pid).memory_info().vms
        await fleet.stop()
        return vms

    return asyncio.run(measure())


class Cut:
    """Makes engines whose workers get so many bytes of address space, from their first moment."""

    def __init__(self, limit_bytes, folder, monkeypatch):
        limit_address_space(limit_bytes, folder, monkeypatch)
        self.plans = []

    def __call__(self, prepared, plan, max_queue):
        self.plans.append(plan)
        return supervise(prepared, plan, max_queue)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """What to run, what is said then, and the plans that are tried."""

    def make(goal, limit_bytes):
        prepared = prepare(demo(), machine(ram=16), goal, uses_tuned=False)
        said, cut = [], Cut(limit_bytes, tmp_path, monkeypatch)

        async def run():
            fleet = Fleet(8, said.append, cut)
            try:
                served = await fleet.load(prepared)
                return served.engine.plan, served.engine.state
            finally:
                await fleet.stop()

        return run, said, cut

    return make


def kv_bytes(plan):
    return sum(share.kv_bytes for share in plan.shares)


def test_a_smaller_plan_is_loaded_and_each_step_is_said(plain, load):
    whole = kv_bytes(prepare(demo(), machine(ram=16), ROOMY, uses_tuned=False).plan)
    run, said, cut = load(ROOMY, plain + whole * 6 // 10)

    plan, state = asyncio.run(run())

    assert state == "ready"
    assert kv_bytes(plan) < whole
    assert 2 <= len(cut.plans) <= 4
    assert len(said) == 2 * (len(cut.plans) - 1)
    assert said[0].startswith("demo did not load: ")
    assert "instead of" in said[1]
    assert "ran out of memory" in plan.reasons[0]


def test_what_was_pinned_is_not_made_smaller(plain, load):
    run, _, cut = load(PINNED, plain + (300 << 20))

    with pytest.raises(DoesNotFit):
        asyncio.run(run())
    assert {(plan.n_ctx_seq, plan.n_parallel, plan.kv_type_k) for plan in cut.plans} == {
        (1024, 256, "f16")
    }
