from dataclasses import replace

import psutil
import pytest
from msgspec import structs
from selector_specs import dense
from server.server_fakes import FakeEngine, hardware, plan, served

from edgellm.meter.sample import Sample
from edgellm.runner.messages import DeviceMemory, Gauge
from edgellm.selector.plan import Placement, Range, Share
from edgellm.server.served import Models
from edgellm.server.watch.checkup import Checkup
from edgellm.server.watch.live import Live, Watched

GPU = "0000:01:00.0"


class Ward:
    """One model on one card, second by second. What it is given is what it does at that moment."""

    def __init__(self, **memory):
        shares = (Share(GPU, GPU, (0, 1), 4000, 200, 30), Share("cpu", "host", (), 10, 0, 0))
        shares = memory.get("shares", shares)
        made = replace(plan(), placement=Placement(shares, 2), decode_tok_s=Range(10.0, 20.0, 30.0))
        self.engine = FakeEngine(made)
        on_gpu = DeviceMemory("CUDA0", memory.get("held", 4000), 200, 30)
        self.engine.ready = structs.replace(
            self.engine.ready, memory=(on_gpu, DeviceMemory("CPU", 10, 0, 0))
        )
        self.now_s, self.n_decoded, self.n_steps, self.swapped = 0.0, 0, 0, 0
        self.told, self.samples, self.own_s = [], (), 0.0
        self.model = served(engine=self.engine, spec=dense())
        self.checkup = Checkup(
            hardware(), lambda: self.samples,
            lambda _, health: self.told.append((self.now_s, health.state, health.cause)),
            swapped_in=lambda: self.swapped, own_cpu_s=lambda pid: self.own_s,
        )  # fmt: skip

    def run(
        self,
        seconds,
        *,
        tok_s=20.0,
        sampled=True,
        swapped=0,
        n_steps=None,
        host_busy=None,
        own=0.0,
        **card,
    ):
        for _ in range(seconds):
            self.now_s += 1
            self.n_decoded += int(tok_s)
            self.n_steps += int(tok_s) if n_steps is None else n_steps
            self.swapped += swapped
            self.own_s += own * psutil.cpu_count()
            gpu = {
                "used_bytes": 5000,
                "total_bytes": 8000,
                "busy_ratio": 1.0,
                "n_lanes": 16,
                **card,
            }
            cpu = Sample("cpu", self.now_s, 1000, 16000, busy_ratio=host_busy)
            self.samples = (cpu, Sample(GPU, self.now_s, **gpu)) if sampled else (cpu,)
            rows = ((1, 10, 512, 100),) if tok_s else ()
            self.engine.gauge = Gauge(
                0, 1, 0, 1024, 0, self.n_decoded, 10, 0, 0, self.n_steps, rows
            )  # fmt: skip
            self.checkup.tick(self.now_s, (self.model,))
        return self.checkup.health(self.engine)


def test_ten_minutes_without_a_fault_are_ten_minutes_without_an_alarm():
    ward = Ward()
    assert ward.run(600).state == "ok"
    assert ward.told == []


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ({"sampled": False, "n_steps": 0, "tok_s": 0}, "lost_device"),
        ({"tok_s": 3, "throttle": ("thermal",)}, "thermal"),
        ({"tok_s": 3, "throttle": ("power_brake",)}, "power"),
        ({"tok_s": 3, "used_bytes": 900}, "memory_spill"),
        ({"tok_s": 3, "swapped": 20_000_000}, "swapping"),
        ({"n_lanes": 4}, "narrow_link"),
        ({"tok_s": 3}, "slow"),
    ],
)
def test_an_injected_fault_is_named_within_ten_seconds_once_and_its_end_too(fault, cause):
    ward = Ward()
    ward.run(30)
    ward.run(30, **fault)
    ward.run(30)

    named = [at_s for at_s, _, told in ward.told if told == cause]
    assert len(named) == 1
    assert named[0] - 30 <= 10
    assert ward.told[-1][1:] == ("ok", None)
    assert ward.told[-1][0] - 60 <= 10


ON_CPU = (Share("cpu", "host", (0, 1), 4000, 200, 30),)
EXPERTS_ON_CPU = (
    Share(GPU, GPU, (0, 1), 4000, 200, 30),
    Share("cpu", "host", (), 10, 0, 0, expert_layers=(0,)),
)
ON_GPU = (Share(GPU, GPU, (0, 1), 4000, 200, 30), Share("cpu", "host", (), 10, 0, 0))


@pytest.mark.parametrize(
    ("shares", "host_busy", "own", "cause"),
    [
        (ON_CPU, 1.0, 0.4, "contention"),
        (EXPERTS_ON_CPU, 1.0, 0.4, "contention"),
        (ON_CPU, 1.0, 0.95, "slow"),  # it is the worker that keeps it busy
        (ON_CPU, None, 0.4, "slow"),
        (ON_GPU, 1.0, 0.1, "slow"),  # nothing is computed there
    ],
)
def test_a_cpu_that_others_keep_busy_is_named_where_it_computes(shares, host_busy, own, cause):
    ward = Ward(shares=shares)
    ward.run(30)
    assert ward.run(15, tok_s=3, host_busy=host_busy, own=own).cause == cause
    assert cause in {told for _, _, told in ward.told}
    assert ward.run(10, tok_s=0, host_busy=host_busy, own=0.0).state == "ok"


def test_a_model_that_loaded_into_the_hosts_memory_is_a_cpu_fallback():
    assert Ward(held=0).run(5).cause == "cpu_fallback"


def test_a_card_whose_sensor_is_silent_and_that_computes_is_not_lost():
    ward = Ward()
    ward.run(10)
    assert ward.run(30, sampled=False).state == "ok"


def test_a_card_that_was_never_sampled_is_not_lost():
    assert Ward().run(30, sampled=False, tok_s=0, n_steps=0).state == "ok"


def test_a_card_that_llama_cpp_no_longer_finds_is_lost_whatever_the_sensors_say():
    ward = Ward()
    ward.run(10)
    ward.engine.state, ward.engine.missing_device = "restarting", "llama.cpp finds no 'CUDA0'"
    health = ward.run(10, tok_s=0, n_steps=0)

    assert (health.state, health.finding.message) == ("lost", "llama.cpp finds no 'CUDA0'")
    assert ward.told == [(13.0, "lost", "lost_device")]


def test_who_heard_that_a_model_is_lost_hears_when_it_answers_again_on_another_engine():
    ward = Ward()
    ward.run(10)
    ward.run(10, sampled=False, n_steps=0, tok_s=0)
    ward.engine = FakeEngine(plan(), state="loading")  # it was planned anew
    ward.model = served(engine=ward.engine, spec=dense())
    ward.run(5)
    assert [state for _, state, _ in ward.told] == ["lost"], "it does not answer yet"
    ward.engine.state = "ready"
    ward.run(5)

    assert ward.told[1:] == [(26.0, "ok", None)]


def test_a_link_that_sleeps_while_nothing_runs_is_no_fault():
    ward = Ward()
    ward.run(10)
    assert ward.run(30, tok_s=0, busy_ratio=0.0, n_lanes=1).state == "ok"


def test_a_prompt_beside_the_stream_is_no_slowness():
    ward = Ward()
    ward.run(10)
    for second in range(30):
        gauge = ward.engine.gauge
        ward.engine.gauge = structs.replace(gauge, n_prefilled=gauge.n_prefilled + 500 * second)
        ward.now_s += 1
        ward.checkup.tick(ward.now_s, (ward.model,))
    assert ward.checkup.health(ward.engine).state == "ok"


def test_four_streams_that_are_each_slower_than_one_are_as_expected():
    ward = Ward()
    for second in range(1, 30):
        rows = tuple((n, 10, 512, 100) for n in range(4))
        ward.engine.gauge = Gauge(0, 4, 0, 1024, 0, 60 * second, 10, 0, 0, 15 * second, rows)
        ward.checkup.tick(float(second), (ward.model,))
    assert ward.checkup.health(ward.engine).state == "ok"


def test_beside_another_model_that_computes_nobody_is_called_slow():
    ward, other = Ward(), Ward()
    for second in range(1, 40):
        for one in (ward, other):
            rows = ((1, 10, 512, 100),)
            one.engine.gauge = Gauge(0, 1, 0, 1024, 0, 3 * second, 10, 0, 0, 3 * second, rows)
        ward.checkup.tick(float(second), (ward.model, other.model))
    assert ward.checkup.health(ward.engine).state == "ok"


def test_the_status_the_log_and_the_listener_hear_of_it():
    ward, heard = Ward(held=0), []
    live = Live(
        Models([ward.model]),
        Watched(
            hardware(),
            lambda: ward.samples,
            on_health=lambda model, health: heard.append((model.name, health.state)),
        ),
        clock=lambda: ward.now_s,
    )
    for _ in range(6):
        ward.run(1)
        live.tick()
    told = live.status().models[0].health
    assert (told.state, told.cause) == ("degraded", "cpu_fallback")
    assert told.age_s == 2.0
    assert "planned for the GPU" in told.message
    assert heard == [("tiny", "degraded")]
    assert ward.engine.log[-1].startswith("health of tiny: degraded (cpu_fallback): ")
