from dataclasses import replace

import pytest
from selector_machines import machine
from server.server_fakes import FakeEngine, FakeLease, served

from edgellm.cli.serving.sharing import Shared
from edgellm.meter.sample import Sample
from edgellm.selector.memory.budget import pool_budgets
from edgellm.units import GIB

RAM = machine(ram=16)
BUDGET = pool_budgets(RAM)["host"]


def seen(free_gib, at_s=2.0):
    host = RAM.host
    used = int(host.total_bytes - free_gib * GIB)
    return Sample("cpu", at_s, used_bytes=used, total_bytes=host.total_bytes)


def shared(*samples, hardware=RAM, models=()):
    made = Shared(hardware, None, lambda: samples)
    made.models = models
    return made


def test_where_nobody_tells_otherwise_there_is_what_was_free_at_the_start():
    assert shared().budgets({}, 1.0) == {"host": BUDGET}
    unknown = Sample("cpu", 2.0), Sample("0000:01:00.0", 2.0, used_bytes=1, total_bytes=2)
    assert shared(*unknown).budgets({}, 1.0) == {"host": BUDGET}


def test_what_other_programs_have_taken_meanwhile_is_not_there():
    before = pool_budgets(RAM)["host"]
    now = shared(seen(6)).budgets({"host": 4 * GIB}, 1.0)["host"]
    small = replace(RAM, pools=(replace(RAM.host, free_bytes=10 * GIB),))
    assert now == pool_budgets(small)["host"] < before


def test_it_is_never_more_than_at_the_start_since_files_that_are_read_count_as_free():
    assert shared(seen(14)).budgets({"host": 8 * GIB}, 1.0) == {"host": BUDGET}


def test_a_reading_from_before_the_last_model_went_says_nothing():
    assert shared(seen(1, at_s=0.5)).budgets({}, 1.0) == {"host": BUDGET}


@pytest.mark.parametrize(("lease", "counts"), [(None, True), (FakeLease(), False)])
def test_those_that_take_no_turns_are_left_out(lease, counts):
    engine = FakeEngine()
    engine.lease = lease
    host_bytes = engine.plan.placement.bytes_by_pool["host"]
    assert host_bytes > 0
    took = BUDGET - shared(models=[served(engine=engine)]).budgets({}, 1.0)["host"]
    assert (took > 0) == counts


def test_a_lost_card_is_no_longer_there():
    cards = machine((24, 1000), (24, 1000), ram=16)
    made = shared(hardware=cards)
    made.use(replace(cards, devices=cards.devices[1:], pools=cards.pools[1:]))
    assert {*made.budgets({}, 1.0)} == {"gpu1", "host"}
