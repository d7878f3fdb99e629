import pytest
from tui_samples import (
    CPU,
    URL,
    big,
    device,
    downloading,
    model,
    ordinary,
    plan,
    seen,
    sequence,
    unknown,
)
from tui_samples import text as shown

from edgellm.status import HealthStatus, KeyStatus
from edgellm.tui.drawn.dashboard import arrange, banner, dashboard, download_line
from edgellm.tui.drawn.lines import width_of
from edgellm.tui.drawn.sequences import sequence_table
from edgellm.tui.view import View

SIZES = [(60, 16), (80, 23), (80, 50), (100, 30), (120, 39), (149, 40), (150, 40), (211, 60)]
STATUSES = {
    "ordinary": ordinary(),
    "big": big(),
    "unknown": unknown(),
    "empty": ordinary(models=(), devices=(), log=()),
    "downloading": ordinary(models=(), download=downloading()),
    "wide names": ordinary(
        models=(model(name="模型" * 60, detail="長い" * 200),),
        devices=(device(name="設備" * 60, throttle=("thermal", "power")), CPU),
        log=("記録" * 300,),
    ),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", STATUSES)
def test_every_line_fills_the_screen_and_no_more(name, size):
    columns, rows = size
    block = dashboard(seen(STATUSES[name]), columns, rows)

    assert {width_of(line) for line in block} == {columns}
    assert rows - 2 <= len(block) <= rows


@pytest.mark.parametrize("n_devices", range(9))
@pytest.mark.parametrize("size", SIZES)
def test_the_bands_share_the_rows_exactly(size, n_devices):
    columns, rows = size
    bands = arrange(columns, rows - 1, n_devices)
    below = bands.requests if bands.side_by_side else bands.requests + bands.log

    if rows >= 22:
        assert bands.top + bands.devices + below == rows - 1
        assert bands.requests >= 4
    assert bands.top >= 6


def test_at_80_by_24_everything_that_matters_is_there():
    screen = shown(dashboard(seen(ordinary()), 80, 23))

    for fact in (
        "edgellm 0.1.0", URL, "up 3h12m", "● live",
        "qwen3:8b", "● ready", "Qwen3-8B-Q4_K_M.gguf", "Q4_K_M · 4 × 8,192 · KV q8_0",
        "34.5 of 31–40 tok/s", "12.0k/32.8k", "37 %", "61 % · 12.3k of 20.1k tokens",
        "decode", "34.5 tok/s", "prefill", "1,210 tok/s",
        "RTX 4060", "7.0/8.0 GiB", "87 %", "71 °C", "98/115 W", "2.52 GHz", "CUDA",
        "Ryzen 7 5800X", "1 running · 0 waiting", "ready in 3.2 s",
    ):  # fmt: skip
        assert fact in screen


def test_at_80_by_24_every_one_of_eight_devices_is_there():
    screen = shown(dashboard(seen(big()), 80, 23))

    for i in range(8):
        assert f"{i} H100 80GB" in screen
    assert "! thermal" in screen
    assert "! 1 throttled" in screen
    assert "24 running · 8 waiting" in screen
    assert "and 31 more" in screen


def test_a_big_terminal_shows_all_32_requests():
    screen = shown(dashboard(seen(big()), 200, 59))

    assert all(f" {i} " in screen for i in range(100, 132))
    assert "more" not in screen


def test_a_tall_card_tells_its_further_sensors_and_what_a_token_takes():
    screen = shown(dashboard(seen(ordinary()), 120, 39))

    for fact in ("hot 83 °C", "memory – °C", "fan 45 %", "slowed no", "2.84 J/token", "PCIe ×16"):
        assert fact in screen
    for fact in ("2.91 J/token", "412.0 kJ", "0.03 EUR", "22 % idle"):
        assert fact in screen


def test_a_device_that_tells_nothing_of_throttling_is_not_said_to_run_freely():
    blind = device(sees_throttle=False)
    hot = device(id="gpu1", throttle=("thermal",))
    screen = shown(dashboard(seen(ordinary(devices=(blind, hot))), 120, 39))

    assert "slowed –" in screen
    assert "slowed yes" in screen


def test_what_slows_a_model_is_named_on_its_card():
    ill = HealthStatus(state="degraded", cause="thermal", message="too hot to run at speed")
    screen = shown(dashboard(seen(ordinary(models=(model(health=ill),))), 80, 23))

    assert "! degraded" in screen
    assert "too hot to run at speed" in screen
    assert "● ready" not in screen


def test_without_a_sensor_there_are_no_joules():
    screen = shown(dashboard(seen(ordinary(energy=None)), 120, 39))

    assert "kJ" not in screen
    assert "energy" not in screen


def test_what_is_unknown_is_a_dash_and_never_a_zero():
    screen = shown(dashboard(seen(unknown()), 120, 39))

    for fact in ("– tok/s", "–/– GiB", "– °C", "– W", "– GHz", "–/–", "pid –"):
        assert fact in screen
    assert "0 °C" not in screen
    assert "0 W" not in screen
    assert "╌" in screen


def test_a_silent_server_is_named_and_its_last_words_stay():
    screen = shown(dashboard(seen(ordinary()).lost(f"no server at {URL}"), 80, 23))

    assert f"○ no server at {URL} – waiting" in screen
    assert "● live" not in screen
    assert "34.5 tok/s" in screen


def test_before_the_first_answer_the_screen_says_what_to_do():
    screen = shown(dashboard(View(URL).lost(f"no server at {URL}"), 80, 23))

    assert "edgellm up" in screen


@pytest.mark.parametrize("state", ["ready", "restarting", "failed"])
def test_a_lost_device_is_named_whatever_its_worker_does_meanwhile(state):
    words = "0000:01:00.0 no longer answers"
    ill = HealthStatus(state="lost", cause="lost_device", message=words)
    lost = model(state=state, health=ill)
    screen = shown(dashboard(seen(ordinary(models=(lost,))), 120, 39))

    assert "✗ device lost" in screen
    assert words in screen


def test_a_failed_model_says_why():
    failed = model(state="failed", detail="9.1 GiB were asked for, 7.6 GiB are free", n_restarts=3)
    screen = shown(dashboard(seen(ordinary(models=(failed,))), 120, 39))

    assert "✗ failed" in screen
    assert "3×, restarted" in screen
    assert "9.1 GiB were asked for, 7.6 GiB are free" in screen


def test_a_loading_model_shows_how_far_it_is():
    loading = model(state="loading", progress_ratio=0.42)

    assert "42 %" in shown(dashboard(seen(ordinary(models=(loading,))), 80, 23))
    nearly, read = (model(state="loading", progress_ratio=ratio) for ratio in (0.99, 1.0))
    assert "99 %" in shown(dashboard(seen(ordinary(models=(nearly,))), 80, 23))
    assert "making the context …" in shown(dashboard(seen(ordinary(models=(read,))), 80, 23))


def test_with_many_streams_no_measured_speed_stands_beside_one_streams_prediction():
    busy = model(n_running=2, sequences=(sequence(1), sequence(2)), decode_tok_s=60.0)
    screen = shown(dashboard(seen(ordinary(models=(busy,))), 120, 39))

    assert "31–40 tok/s predicted · one stream" in screen


def test_a_model_beside_is_named():
    embedder = model(name="nomic-embed", embedding=True, state="loading")
    screen = shown(dashboard(seen(ordinary(models=(model(), embedder))), 120, 39))

    assert "nomic-embed ◌ loading" in screen


def test_requests_stand_by_what_they_do():
    rows = (
        sequence(1, "waiting", n_computed=0, n_output=0),
        sequence(2, "prefill", n_prompt=2204, n_computed=1536, n_output=0),
        sequence(3, "decode"),
    )
    screen = shown(dashboard(seen(ordinary(models=(model(sequences=rows),))), 120, 39))
    words = [line.split()[1:3] for line in screen.split("\n")]

    table = [pair for pair in words if pair and pair[0].isdigit()]
    assert table == [["3", "decode"], ["2", "prefill"], ["1", "waiting"]]
    assert "1,536/2,204" in screen


KEYS = tuple(KeyStatus(name=name, n_running=n) for name, n in (("anna", 2), ("ci", 1), ("idle", 0)))


def heading(width, keys):
    return shown(sequence_table(seen(ordinary(keys=keys)), width, 8)).splitlines()[0]


def test_whose_requests_they_are_is_told_where_several_keys_have_some_and_there_is_room():
    assert "anna: 2, ci: 1 · 1 running · 0 waiting" in heading(120, KEYS)
    assert "anna" not in heading(120, KEYS[:1])
    assert "anna" not in heading(60, KEYS)
    assert "1 running · 0 waiting" in heading(60, KEYS)
    many = tuple(KeyStatus(name=f"key-{i}", n_running=1) for i in range(40))
    assert "key-1" not in heading(120, many)


def test_a_download_shows_bytes_rate_and_time_left():
    line = shown([download_line(downloading(), 80)])

    assert "qwen3:8b" in line
    assert "1.2/5.0 GiB  25 %  52.0 MiB/s  1m14s left" in line
    assert "–" in shown([download_line(downloading(total_bytes=None, rate_bytes_s=None), 80)])
    assert "stopped: disk full" in shown([download_line(downloading(error="disk full"), 80)])


def test_a_name_of_wide_letters_pushes_nothing_out_of_a_line():
    line = download_line(downloading(name="通义千问三十亿"), 80)
    assert shown([line]).rstrip().endswith("left")
    assert width_of(line) == 80


def test_the_plan_of_a_cpu_says_so():
    on_cpu = model(plan=plan(n_gpu_layers=0))

    assert "CPU only" in shown(dashboard(seen(ordinary(models=(on_cpu,))), 200, 50))


def test_the_demo_is_called_so_once():
    card = shown(dashboard(seen(ordinary(models=(model(name="demo", demo=True),))), 80, 23))
    other = shown(dashboard(seen(ordinary(models=(model(name="tiny", demo=True),))), 80, 23))

    assert "demo demo" not in card
    assert "tiny demo" in other


def test_why_there_is_nothing_new_is_told_whole_before_the_programs_name():
    gone = View("x", problem="no server at http://127.0.0.1:8484")
    assert shown([banner(gone, 50)]).strip() == "○ no server at http://127.0.0.1:8484 – waiting"
    assert "waiting" in shown([banner(gone, 80)])
    assert "edgellm" in shown([banner(gone, 80)])


def test_a_narrow_table_shows_its_figures_whole_and_marks_a_slowed_device():
    hot = device(name="RTX 4060", throttle=("thermal",))
    narrow = shown(dashboard(seen(ordinary(devices=(hot, CPU))), 60, 16))
    assert "98/115 W" in narrow
    assert "! RTX 4060" in narrow
    assert "clock" not in narrow, "it gives way to the names, which tell two cards apart"
    wide = shown(dashboard(seen(ordinary(devices=(hot, CPU))), 80, 16))
    assert "! thermal" in wide
    assert "! RTX" not in wide


def test_at_60_columns_figures_are_whole_and_what_is_said_elsewhere_gives_way():
    screen = shown(dashboard(seen(ordinary()), 60, 19))

    for words in ("34.5 of 31–40", "12.0k/32.8k", "RTX 4060", "Ryzen 7 5800X", "98/115 W", "1.5 s"):
        assert words in screen


def test_at_60_columns_a_command_is_not_cut():
    empty = shown(dashboard(seen(ordinary(models=())), 60, 19))
    nobody = shown(dashboard(View("http://127.0.0.1:8484"), 60, 19))

    assert "edgellm serve MODEL" in empty
    assert "edgellm up" in nobody


def test_beside_the_prediction_stands_an_answers_own_speed_and_not_the_mean():
    short = model(decode_tok_s=3.3, stream_tok_s=36.5)
    screen = shown(dashboard(seen(ordinary(models=(short,))), 120, 39))

    assert "36.5 of 31–40 tok/s · measured of predicted" in screen
    assert "throughput, 5 s mean" in screen


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_while_nothing_runs_the_last_answers_speed_stays_and_is_said_to_be_the_last(columns):
    idle = model(n_running=0, decode_tok_s=3.3, stream_tok_s=36.5, sequences=())
    screen = shown(dashboard(seen(ordinary(models=(idle,))), columns, 30))

    assert "last 36.5 of 31–40" in screen
    assert "5 s mean" in screen


def test_a_fast_models_last_speed_is_whole_at_60_columns():
    fast = plan(decode_tok_s_p10=1026.0, decode_tok_s_p90=1908.0)
    idle = model(n_running=0, stream_tok_s=912.0, sequences=(), plan=fast)

    assert "last 912 tok/s" in shown(dashboard(seen(ordinary(models=(idle,))), 60, 30))
    wide = shown(dashboard(seen(ordinary(models=(idle,))), 80, 30))
    assert "last 912 of 1,026–1,908" in wide


def test_before_the_first_answer_only_the_prediction_is_there():
    fresh = model(n_running=0, decode_tok_s=None, stream_tok_s=None, sequences=())
    screen = shown(dashboard(seen(ordinary(models=(fresh,))), 100, 30))

    assert "31–40 tok/s predicted" in screen
