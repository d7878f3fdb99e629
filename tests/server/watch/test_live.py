import os
from collections import deque

import pytest
from server.server_fakes import GAUGE, FakeEngine, hardware, plan, served

from edgellm import status
from edgellm.chat.templating.template import ChatTemplate
from edgellm.errors import WorkerDied
from edgellm.meter.sample import Sample
from edgellm.runner.loadlog import DeviceMemory
from edgellm.runner.messages import Gauge
from edgellm.server.served import Models
from edgellm.server.watch.live import Live, Watched
from edgellm.status import MemoryParts


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def gauge(n_decoded=0, n_prefilled=0, sequences=(), **more):
    return Gauge(0, 0, 0, 1024, 0, n_decoded, n_prefilled, 0, 0, 0, sequences, **more)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def engine():
    return FakeEngine(plan())


@pytest.fixture
def live(engine, clock):
    return Live(Models([served(engine=engine)]), Watched(hardware()), clock=clock)


def model(live):
    return live.status().models[0]


def test_the_status_survives_its_own_json(live, engine):
    engine.gauge = gauge(sequences=((1, 5, 5, 2),))
    live.url = "http://127.0.0.1:8484"
    shown = live.status()
    assert status.decode(status.encode(shown)) == shown
    assert shown.url == "http://127.0.0.1:8484"


def test_each_model_tells_the_other_names_that_mean_it():
    models = [served("one", aliases=("uno",)), served("two")]
    shown = Live(Models(models, aliases=["gpt-4o-mini", "*"]), Watched(hardware())).status()
    assert [model.aliases for model in shown.models] == [("uno", "gpt-4o-mini"), ()]


def test_whether_thoughts_can_be_switched_is_told_of_each_model():
    qwen = ChatTemplate("{% if enable_thinking is false %}<think></think>{% endif %}")
    models = [served("qwen", template=qwen), served("other")]
    shown = Live(Models(models), Watched(hardware())).status()
    assert [model.switches_thoughts for model in shown.models] == [True, False]


def test_whether_a_template_was_written_for_tools_is_told_of_each_model():
    hermes = ChatTemplate("{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}")
    models = [served("hermes", template=hermes), served("other")]
    shown = Live(Models(models), Watched(hardware())).status()
    assert [model.shows_tools for model in shown.models] == [True, False]


def test_before_the_first_gauge_nothing_is_claimed(live):
    shown = model(live)
    assert shown.n_cells is None
    assert shown.decode_tok_s is None
    assert shown.rss_bytes is None


def test_rates_are_those_of_the_last_seconds(live, engine, clock):
    for second in range(21):
        clock.now_s = 100.0 + second
        engine.gauge = gauge(n_decoded=10 * second if second <= 10 else 100 + 30 * (second - 10))
        live.tick()
    assert model(live).decode_tok_s == pytest.approx(30.0)
    assert model(live).prefill_tok_s is None


def test_no_work_has_no_rate(live, engine, clock):
    for second in range(3):
        clock.now_s = 100.0 + second
        engine.gauge = gauge(n_decoded=50)
        live.tick()
    assert model(live).decode_tok_s is None


def test_a_short_answer_has_the_speed_of_its_own_seconds_and_keeps_it(live, engine, clock):
    for second in range(20):
        clock.now_s = 100.0 + second
        n, took_s = (40, 0.05) if second >= 3 else (0, 0.0)
        engine.gauge = gauge(n_decoded=n, n_alone=n, alone_s=took_s)
        live.tick()
    assert model(live).decode_tok_s is None
    assert model(live).stream_tok_s == pytest.approx(800.0)


def test_an_answer_before_the_first_look_was_measured_as_well(live, engine):
    engine.gauge = gauge(n_decoded=40, n_alone=40, alone_s=0.05)
    assert model(live).stream_tok_s == pytest.approx(800.0)


def test_a_long_answer_has_the_speed_of_its_last_seconds(live, engine, clock):
    n, took_s = 0, 0.0
    for second in range(21):
        clock.now_s = 100.0 + second
        n, took_s = n + (10 if second <= 10 else 30), took_s + 0.5
        engine.gauge = gauge(n_decoded=n, n_alone=n, alone_s=took_s)
        live.tick()
    assert model(live).stream_tok_s == pytest.approx(60.0)


def test_answers_side_by_side_leave_the_speed_of_one_alone_as_it_was(live, engine, clock):
    engine.gauge = gauge(n_decoded=40, n_alone=40, alone_s=0.05)
    live.tick()
    clock.now_s += 1
    engine.gauge = gauge(n_decoded=400, n_alone=40, alone_s=0.05)
    assert model(live).stream_tok_s == pytest.approx(800.0)


def test_the_speed_of_another_worker_is_not_this_ones(live, engine, clock):
    engine.gauge = gauge(n_decoded=40, n_alone=40, alone_s=0.05)
    live.tick()
    clock.now_s += 1
    engine.gauge = gauge()
    assert model(live).stream_tok_s is None


def test_a_restarted_worker_counts_from_zero(live, engine, clock):
    for second, n_decoded in enumerate((1000, 1010, 5, 15)):
        clock.now_s = 100.0 + second
        engine.gauge = gauge(n_decoded=n_decoded)
        live.tick()
    assert model(live).decode_tok_s == pytest.approx(10.0)


def test_sequences_have_a_phase_and_an_age(live, engine, clock):
    engine.gauge = gauge(sequences=((1, 10, 0, 0), (2, 10, 4, 0), (3, 10, 10, 0), (4, 10, 14, 4)))
    live.status()
    clock.now_s += 2.5
    engine.gauge = gauge(sequences=((2, 10, 10, 1), (5, 3, 0, 0)))
    old, new = model(live).sequences
    assert (old.state, old.age_s) == ("decode", 2.5)
    assert (new.state, new.age_s) == ("waiting", 0.0)


def test_the_phases_are_waiting_prefill_decode(live, engine):
    engine.gauge = gauge(sequences=((1, 10, 0, 0), (2, 10, 4, 0), (3, 10, 10, 0), (4, 10, 14, 4)))
    assert [s.state for s in model(live).sequences] == ["waiting", "prefill", "decode", "decode"]


def test_the_plan_stands_beside_what_was_taken(live, engine):
    memory = (
        DeviceMemory("CUDA0", 100, 20, 3),
        DeviceMemory("CPU", 1000, 200, 30),
        DeviceMemory("CUDA_Host", 0, 0, 7),
    )
    engine.ready = type(engine.ready)(
        **{name: getattr(engine.ready, name) for name in engine.ready.__struct_fields__}
        | {"memory": memory}
    )
    shown = model(live).plan
    (host,) = shown.shares
    assert (host.device_id, shown.predicted_bytes, shown.measured_bytes) == ("cpu", 1230, 1360)
    assert host.predicted == MemoryParts(weight_bytes=1000, kv_bytes=200, compute_bytes=30)
    assert host.measured == MemoryParts(weight_bytes=1100, kv_bytes=220, compute_bytes=40)
    assert (shown.decode_tok_s_p10, shown.reasons) == (10.0, ("it fits",))


def test_a_failure_is_told_with_its_words(live, engine):
    engine.state, engine.failure, engine.n_restarts = "failed", WorkerDied("signal 9"), 3
    engine.log = deque(["last", "words"])
    assert (model(live).state, model(live).detail, model(live).n_restarts) == (
        "failed", "signal 9", 3,
    )  # fmt: skip
    assert live.status().log == ("last", "words")


def test_devices_join_what_they_are_with_what_they_do(engine):
    samples = (Sample("cpu", 1.0, used_bytes=7000, total_bytes=15000, busy_ratio=0.5),)
    live = Live(Models(), Watched(hardware(), lambda: samples))
    gpu, cpu = live.status().devices
    assert (gpu.total_bytes, gpu.used_bytes, gpu.unified) == (8000, None, False)
    assert (cpu.total_bytes, cpu.used_bytes, cpu.busy_ratio) == (15000, 7000, 0.5)


def test_a_workers_memory_is_read_and_a_dead_ones_is_unknown(live, engine):
    engine.pid = os.getpid()
    assert model(live).rss_bytes > 1_000_000
    engine.pid = 2**22 + 1  # above the highest id that Linux gives
    assert model(live).rss_bytes is None


def test_a_swapped_model_leaves_nothing_behind(engine, clock):
    old, new = served("old", engine=engine), served("new")
    models = Models([old])
    live = Live(models, clock=clock)
    engine.gauge = GAUGE
    live.tick()
    models.swap(old, new)
    live.tick()
    assert [m.name for m in live.status().models] == ["new"]
    assert list(live._paces) == [new.engine]
