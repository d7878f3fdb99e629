from tui_samples import GIB, model, ordinary, plan, seen, share, text, unknown

from edgellm.status import MemoryParts, ShareStatus
from edgellm.tui.drawn.details import plan_details
from edgellm.tui.drawn.legend import legend
from edgellm.tui.drawn.lines import width_of
from edgellm.tui.drawn.log import log_card, tone_of, whole_log
from edgellm.tui.view import Played, View


def test_prediction_and_measurement_stand_side_by_side():
    page = text(plan_details(seen(ordinary()), 100))

    assert "/models/Qwen3-8B-Q4_K_M.gguf" in page
    assert "8,192 a conversation, 4 at a time, 32,768 in all" in page
    assert "31.0 · 35.0 · 40.0 tok/s predicted" in page
    assert "34.5 tok/s measured" in page
    assert "-4.2 %" in page
    assert "· Q5_K_M needs 9.1 GiB, 8.0 GiB are free" in page


def test_the_last_answers_speed_stays_when_nothing_runs():
    idle = model(n_running=0, decode_tok_s=None, stream_tok_s=36.5, sequences=())
    fresh = model(n_running=0, decode_tok_s=None, stream_tok_s=None, sequences=())

    assert "36.5 tok/s last measured" in text(plan_details(seen(ordinary(models=(idle,))), 100))
    page = text(plan_details(seen(ordinary(models=(fresh,))), 100))
    assert "– tok/s measured" in page
    assert "last" not in page


def test_the_speed_of_an_answer_that_is_no_longer_alone_is_not_said_to_be_the_last():
    """It may be running yet, beside another."""
    beside = model(n_running=2, stream_tok_s=36.5)

    page = text(plan_details(seen(ordinary(models=(beside,))), 100))
    assert "36.5 tok/s measured" in page
    assert "last" not in page


def test_before_the_load_there_is_only_a_prediction():
    planned = plan(shares=(share("gpu0", 7 * GIB, None), share("lost", GIB, None)))
    page = text(plan_details(seen(ordinary(models=(model(plan=planned),))), 100))

    for name in ("RTX 4060", "lost"):
        assert name in page
    assert "%" not in page


def test_each_part_of_a_device_is_listed_and_what_llama_cpp_does_not_count():
    of_gpu = ShareStatus(
        device_id="gpu0",
        predicted=MemoryParts(weight_bytes=4 * GIB, kv_bytes=GIB, compute_bytes=GIB // 4),
        measured=MemoryParts(weight_bytes=4 * GIB, kv_bytes=2 * GIB, compute_bytes=GIB // 4),
        overhead_bytes=GIB // 2,
    )
    lines = text(
        plan_details(seen(ordinary(models=(model(plan=plan(shares=(of_gpu,))),))), 100)
    ).splitlines()

    rows = {line.strip().partition("  ")[0]: line.split() for line in lines}
    assert rows["weights"][-2:] == ["+0.0", "%"]
    assert rows["KV cache"][-2:] == ["+100.0", "%"]
    assert rows["outside llama.cpp"][-1] == "–"


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


def log_rows(log, width, height):
    block = log_card(seen(ordinary(log=log)), width, height)
    assert all(width_of(line) == width for line in block)
    return [line.strip("│").rstrip().removeprefix(" ") for line in text(block).split("\n")]


def test_the_newest_log_lines_are_whole_and_where_the_oldest_is_cut_the_card_says_so():
    long = "health of demo: " + "a word " * 12
    top, *rows, _ = log_rows(("one", long, "two"), 40, 7)
    assert rows == [
        "one",
        "health of demo: a word a word a",
        "  word a word a word a word a word a",
        "  word a word a word a word a word",
        "two",
    ]
    assert "l shows" not in top
    top, *rows, _ = log_rows(("one", long, "two"), 40, 5)
    assert rows == [
        "health of demo: a word a word a",
        "  word a word a word a word a word …",
        "two",
    ]
    assert "l shows all of it" in top
    assert log_rows(("one", "two", "three"), 40, 4)[1:3] == ["two", "three"]
    assert log_rows((), 40, 4)[1:3] == ["", ""]


def test_the_help_names_every_key_and_fits_a_small_screen():
    page = legend(View("http://x"), 66)

    assert all(width_of(line) <= 66 for line in page)
    assert all(key in text(page) for key in ("quit", "chat", "plan", "log", "Esc", "Ctrl-N"))


def test_in_a_narrow_sheet_the_plan_is_wrapped_and_its_figures_stay_whole():
    for width in (54, 66, 74):
        block = plan_details(seen(ordinary()), width)
        page = text(block)

        assert all(width_of(line) <= width for line in block)
        assert "32,768 in all" in page
        assert page.count("-4.2 %") == 2
        assert "off by" in page


def test_beside_a_long_name_its_state_is_whole():
    long = model(name="an-organisation/" + "x" * 80, state="failed")
    head, *_ = plan_details(seen(ordinary(models=(long,))), 76)

    assert width_of(head) <= 76
    assert head[-1].text == "✗ failed"


def test_of_a_server_that_is_gone_the_page_says_what_it_was():
    view = seen(ordinary()).lost("no server")

    page = text(plan_details(view, 100))
    assert "○ was ready" in page
    assert "● ready" not in page


def test_all_that_was_planned_is_summed_up_with_what_llama_cpp_does_not_count():
    of_gpu = ShareStatus(
        device_id="gpu0",
        predicted=MemoryParts(weight_bytes=4 * GIB),
        overhead_bytes=GIB,
    )
    page = text(plan_details(seen(ordinary(models=(model(plan=plan(shares=(of_gpu,))),))), 100))
    (row,) = [line for line in page.splitlines() if line.startswith("all together")]
    assert row.split()[2:] == ["5.0", "GiB", "–", "–"]


def test_the_help_of_a_recording_offers_no_chat():
    page = text(legend(View("x.rec", played=Played(1.0, 9.0, 1.0)), 80))

    assert "chat" not in page
    assert all(word in page for word in ("quit", "the plan", "the log"))
