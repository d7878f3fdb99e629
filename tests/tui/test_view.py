from tui_samples import CPU, URL, device, model, ordinary, seen

from edgellm.tui.view import View


def test_each_answer_lengthens_the_histories():
    view = seen(ordinary(), ordinary(models=(model(decode_tok_s=None),)))

    assert view.decode_tok_s == (34.5, None)
    assert view.prefill_tok_s == (1210.0, 1210.0)
    assert view.busy_of(device()) == (0.87, 0.87)


def test_silence_keeps_what_was_known_and_leaves_a_gap():
    view = seen(ordinary()).lost("no server")

    assert view.status == ordinary()
    assert not view.is_live
    assert view.decode_tok_s == (34.5,)
    assert view.seen(ordinary()).decode_tok_s == (34.5, None, 34.5)
    assert view.seen(ordinary()).busy_of(CPU) == (0.12, None, 0.12)


def test_before_the_first_answer_there_is_no_gap():
    view = View(URL).lost("no server").seen(ordinary())

    assert view.decode_tok_s == (34.5,)
    assert view.is_live


def test_the_screen_is_about_the_model_that_generates():
    embedder = model(name="embedder", embedding=True)
    view = seen(ordinary(models=(embedder, model())))

    assert view.model.name == "qwen3:8b"
    assert view.others == (embedder,)
    assert seen(ordinary(models=(embedder,))).model is embedder
    assert seen(ordinary(models=())).model is None


def test_of_several_it_is_about_the_chosen_one_whatever_is_loaded_meanwhile():
    one, two = model(name="one", state="sleeping"), model(name="two")
    view = seen(ordinary(models=(one, two, model(name="embedder", embedding=True))))
    assert (view.model.name, view.choices) == ("two", ("one", "two"))

    first = view.about_next()
    assert (first.model.name, first.decode_tok_s) == ("one", ()), "another's graphs"
    assert first.about_next().model.name == "two"
    stays = view.about("two")
    assert stays.decode_tok_s == view.decode_tok_s

    turned = (model(name="one"), model(name="two", state="sleeping"))
    assert stays.seen(ordinary(models=turned)).model.name == "two"
    assert stays.seen(ordinary(models=(one,))).model.name == "one", "the chosen one has gone"
    assert View(URL).about_next() == View(URL)


def test_histories_are_bounded():
    view = seen(*[ordinary()] * 700)

    assert len(view.decode_tok_s) == 600


def test_a_device_that_appears_later_begins_its_own_history():
    view = seen(ordinary(devices=(CPU,)), ordinary())

    assert view.busy_of(device()) == (0.87,)
    assert view.busy_of(CPU) == (0.12, 0.12)
