"""What plan, recommend and probe show while they work: the line is drawn, and gone at the end."""

import io
import threading
from importlib import import_module

import pytest

from edgellm.cli.commands.plan import plan
from edgellm.cli.commands.probe import probe
from edgellm.cli.commands.recommend import recommend
from edgellm.cli.flags.described import Described
from edgellm.cli.flags.drafting import Drafting
from edgellm.cli.flags.pins import Pins
from edgellm.cli.flags.seeing import Seeing
from edgellm.cli.preparing.sizes import Users
from edgellm.errors import DoesNotFit

RPI5 = Described(on=["rpi5"])


class Screen(io.StringIO):
    """A terminal; a line with the awaited words wakes who waits for it."""

    def __init__(self, words):
        super().__init__()
        self.words, self.is_drawn = words, threading.Event()

    def isatty(self):
        return True

    def write(self, text):
        if self.words in text:
            self.is_drawn.set()
        return super().write(text)


def planned(**wishes):
    plan("qwen3:0.6b", Pins(), RPI5, Users(**wishes), Seeing(), Drafting(), no_oracle=True)


def nothing_here():
    with pytest.raises(DoesNotFit, match="no model on this disk"):
        recommend(Pins(), Described(), offline=True)


@pytest.mark.parametrize(
    ("command", "slow", "words"),
    [
        (planned, "edgellm.cli.preparing.requested.resolve", "reading about qwen3:0.6b … "),
        (planned, "edgellm.cli.preparing.planning.choose", "planning qwen3:0.6b … "),
        (lambda: planned(users=3), "edgellm.selector.sizing.size", "sizing 1 machine … "),
        (
            lambda: recommend(Pins(), RPI5),
            "edgellm.cli.preparing.catalog_ranking.recommended",
            "ranking ",
        ),
        (
            nothing_here,
            "edgellm.cli.preparing.catalog_ranking.recommended_of_disk",
            "ranking the models on this disk … ",
        ),
        (probe, "edgellm.probe.detect.examine", "looking at this machine … "),
    ],
    ids=["plan reads", "plan", "plan sizes", "recommend", "recommend offline", "probe"],
)
def test_what_takes_its_time_is_told_meanwhile(command, slow, words, monkeypatch, capsys):
    screen, (module, name) = Screen(words), slow.rsplit(".", 1)
    room = import_module(module)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", screen)
    real = getattr(room, name)

    def slowly(*facts, **more):
        assert screen.is_drawn.wait(timeout=30), "nothing was drawn"
        return real(*facts, **more)

    monkeypatch.setattr(room, name, slowly)
    command()
    assert screen.getvalue().endswith("\r\x1b[K"), "a line was left behind"
