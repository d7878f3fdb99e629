import pytest

from edgellm.cli.flags.bash_words import rejoined


@pytest.mark.parametrize(
    ("split", "typed"),
    [
        (["run", "qwen3", ":", "8"], ["run", "qwen3:8"]),
        (["run", "qwen3", ":"], ["run", "qwen3:"]),
        (["run", "hf.co/o/r", ":", "Q4_K_M", "hi"], ["run", "hf.co/o/r:Q4_K_M", "hi"]),
        (["plan", "m", "--use", "=", "ch"], ["plan", "m", "--use=ch"]),
        (["plan", "a", "=", "b"], ["plan", "a", "=", "b"]),
        (["run", ""], ["run", ""]),
        (["http", "://x"], ["http", "://x"]),
    ],
)
def test_words_are_as_they_were_typed(split, typed):
    assert rejoined(split) == typed
