from tui_samples import CPU, GIB, model, ordinary, plan, seen, text, unknown

from edgellm.tui.details import plan_details
from edgellm.tui.legend import legend
from edgellm.tui.lines import width_of
from edgellm.tui.log import tone_of, whole_log
from edgellm.tui.view import View


def test_prediction_and_measurement_stand_side_by_side():
    page = text(plan_details(seen(ordinary()), 100))

    assert "/models/Qwen3-8B-Q4_K_M.gguf" in page
    assert "8,192 a conversation, 4 at a time, 32,768 in all" in page
    assert "31.0 · 35.0 · 40.0 tok/s predicted" in page
    assert "34.5 tok/s measured" in page
    assert "-4.2 %" in page
    assert "· Q5_K_M needs 9.1 GiB, 8.0 GiB are free" in page


def test_a_device_that_was_only_predicted_or_only_measured_is_listed_too():
    uneven = plan(predicted_bytes={"gpu0": 7 * GIB}, measured_bytes={"cpu": GIB, "lost": GIB})
    page = text(plan_details(seen(ordinary(models=(model(plan=uneven),))), 100))

    for name in ("RTX 4060", CPU.name, "lost"):
        assert name in page
    assert "%" not in page


def test_unknown_predictions_are_dashes():
    assert "– · – · – tok/s" in text(plan_details(seen(unknown()), 100))


def test_without_a_model_there_is_no_plan():
    assert "no model" in text(plan_details(View("http://x"), 80))
    assert "not known" in text(plan_details(seen(ordinary(models=(model(plan=None),))), 80))


def test_long_log_lines_are_wrapped_and_bad_ones_marked():
    view = seen(ordinary(log=("error: " + "word " * 60,)))

    assert all(width_of(line) <= 40 for line in whole_log(view, 40))
    assert tone_of("E error loading model") == "bad"
    assert tone_of("warning: no GPU") == "warn"
    assert tone_of("load_tensors: done") == "dim"


def test_the_help_names_every_key_and_fits_a_small_screen():
    page = legend(View("http://x"), 66)

    assert all(width_of(line) <= 66 for line in page)
    assert all(key in text(page) for key in ("quit", "chat", "plan", "log", "Esc", "Ctrl-N"))
