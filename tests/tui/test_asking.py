import pytest
from tui_samples import model, ordinary, seen

from edgellm.errors import NotServing
from edgellm.tui.asking import Ask, Wait, ask_or_wait
from edgellm.tui.view import View


@pytest.mark.parametrize(
    ("state", "progress_ratio", "does"),
    [
        ("loading", None, "loading"),
        ("loading", 0.42, "loading"),
        ("loading", 1.0, "making the context"),
        ("restarting", 1.0, "restarting"),
    ],
)
def test_a_question_is_told_what_it_waits_for(state, progress_ratio, does):
    view = seen(ordinary(models=(model(state=state, progress_ratio=progress_ratio),)))
    assert ask_or_wait(view) == Wait(f"qwen3:8b is {does}")


def test_a_question_to_who_does_not_tell_us_waits_in_vain_and_is_refused():
    gone, locked = View("u").lost("no server at u"), View("u").lost("wants a key", is_refused=True)
    assert ask_or_wait(gone) == Wait("no server at u")
    with pytest.raises(NotServing, match="wants a key"):
        ask_or_wait(locked)
    assert ask_or_wait(locked.seen(ordinary())) == Ask("qwen3:8b")
