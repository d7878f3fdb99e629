import pytest
from tui_samples import model, ordinary, seen

from edgellm.tui.asking import Wait, ask_or_wait


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
