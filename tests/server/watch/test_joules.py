import time

import httpx2
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from server.server_fakes import FakeEngine, hardware, live_server, plan, served, words

from edgellm.chat.events import Finished
from edgellm.meter.sample import Sample
from edgellm.runner.messages import Gauge
from edgellm.server.door.bodies import Bodies
from edgellm.server.served import Models
from edgellm.server.watch.gauges import Gauges
from edgellm.server.watch.joules import Tariff
from edgellm.server.watch.live import Live, Watched

GPU = "0000:01:00.0"


def gauge(*work, n_steps=0, n_prefilled=0):
    return Gauge(0, len(work), 0, 1024, 0, 0, n_prefilled, 0, 0, n_steps, (), tuple(work))


class Bench:
    """A server whose seconds and watts are ours."""

    def __init__(self, *, watts=100.0, tariff=None, embedding=False):
        self.now_s, self.watts = 0.0, watts
        self.engine = FakeEngine(plan(embedding=embedding))
        self.live = Live(
            Models([served(engine=self.engine)]),
            Watched(hardware(), self.samples, tariff=tariff or Tariff()),
            clock=lambda: self.now_s,
        )
        self.live.tick()

    def samples(self):
        return (Sample(GPU, self.now_s, power_w=self.watts), Sample("cpu", self.now_s))

    def second(self, *work, **counts):
        self.engine.gauge = gauge(*work, **counts)
        self.now_s += 1
        self.live.tick()

    def energy(self):
        return self.live.status().energy


def finished(request_id, step_share, n_computed, n_output=10, step_share_s=None):
    return Finished(
        "stop", 7, 0, n_output,
        request_id=request_id, step_share=step_share, n_computed=n_computed,
        step_share_s=step_share_s,
    )  # fmt: skip


def test_an_answer_is_told_its_joules_and_the_rest_is_idle():
    bench = Bench()
    bench.second((1, 10.0, 16))
    bench.second()
    told = bench.live.priced(bench.engine, finished(1, 10.0, 16))

    assert told.energy_j == 100.0
    energy = bench.energy()
    assert (energy.total_j, energy.requests_j, energy.idle_j) == (200.0, 100.0, 100.0)
    assert (energy.power_w, energy.j_per_token, energy.cost) == (100.0, 10.0, None)


def test_the_speed_is_that_of_the_seconds_that_were_worked():
    bench = Bench()
    bench.second((1, 10.0, 16, 0.5), (2, 10.0, 16, 0.3))
    bench.second()
    bench.live.priced(bench.engine, finished(1, 10.0, 16, n_output=30, step_share_s=0.5))
    assert bench.energy().tok_s == pytest.approx(60.0)
    bench.live.priced(bench.engine, finished(2, 10.0, 16, n_output=18, step_share_s=0.3))
    assert bench.energy().tok_s == pytest.approx(60.0), "both streams' tokens, both's seconds"


def test_who_does_not_tell_seconds_leaves_no_speed():
    bench = Bench()
    bench.second((1, 10.0, 16))
    bench.live.priced(bench.engine, finished(1, 10.0, 16))
    assert bench.energy().tok_s is None


def test_a_tariff_makes_joules_money():
    bench = Bench(watts=3.6e6, tariff=Tariff(0.30, "EUR"))
    bench.second()
    assert (bench.energy().cost, bench.energy().currency) == (pytest.approx(0.30), "EUR")


def test_what_has_no_sensor_has_no_number():
    bench = Bench(watts=None)
    for _ in range(20):
        bench.second((1, 10.0, 16))
    assert bench.energy() is None
    assert bench.live.priced(bench.engine, finished(1, 10.0, 16)).energy_j is None


def test_embedding_is_no_idling():
    bench = Bench(embedding=True)
    bench.second((1, 1.0, 100))
    bench.second()
    told = bench.live.priced(bench.engine, finished(1, 1.0, 100, n_output=0))
    energy = bench.energy()
    assert told.energy_j == 100.0
    assert (energy.requests_j, energy.idle_j, energy.j_per_token) == (100.0, 100.0, None)


def test_a_worker_that_dies_takes_its_requests_numbers_not_the_servers():
    bench = Bench()
    bench.second((1, 10.0, 16))
    bench.engine.gauge = None
    bench.live.tick()
    bench.second((2, 10.0, 16))
    assert bench.live.priced(bench.engine, finished(2, 10.0, 16)).energy_j == 100.0
    assert bench.energy().total_j == 200.0


def test_metrics_tell_joules_idling_and_cost_and_nothing_where_nothing_is_known():
    def page(bench):
        registry = CollectorRegistry()
        Gauges(bench.live.status, registry, Bodies(1))
        return generate_latest(registry).decode()

    known, blind = Bench(tariff=Tariff(3.6e6, "EUR")), Bench(watts=None)
    known.second()
    text = page(known)
    assert "edgellm_energy_joules_total 100.0" in text
    assert "edgellm_energy_idle_joules_total 100.0" in text
    assert "edgellm_power_watts 100.0" in text
    assert 'edgellm_energy_cost_total{currency="EUR"} 100.0' in text
    told = [line for line in page(blind).splitlines() if not line.startswith("#")]
    assert not [line for line in told if "energy" in line or "watts" in line]


def test_a_client_reads_its_joules_in_the_timings():
    engine = FakeEngine(plan(), [[*words("a b")[:-1], finished(1, 10.0, 16, n_output=2)]])
    began_s = time.monotonic()

    def samples():  # a thousand watts, by a counter
        now_s = time.monotonic()
        return (Sample(GPU, now_s, energy_j=1000 * (now_s - began_s)),)

    with (
        live_server(served(engine=engine), watched=Watched(hardware(), samples)) as live,
        httpx2.Client(base_url=live.url) as http,
    ):
        engine.gauge = gauge((1, 10.0, 16))
        time.sleep(0.02)
        http.get("/edgellm/status")
        time.sleep(0.02)
        http.get("/edgellm/status")
        question = {"messages": [{"role": "user", "content": "hi"}]}
        timings = http.post("/v1/chat/completions", json=question).json()["timings"]
        page = http.get("/metrics").text
    assert timings["energy_j"] > 0
    assert timings["energy_j_per_token"] == pytest.approx(timings["energy_j"] / 2, abs=0.001)
    assert 'edgellm_request_energy_joules_total{model="tiny"}' in page
