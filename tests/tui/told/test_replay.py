import asyncio
from dataclasses import dataclass

import pytest
from tui_samples import ordinary, text
from tui_status_server import in_loop, until

from edgellm.errors import NotServing
from edgellm.tui.app import TopApp
from edgellm.tui.drawn.dashboard import banner, dashboard
from edgellm.tui.told.client import Server
from edgellm.tui.told.questions import Message
from edgellm.tui.told.recording import Moment, Span, span_of
from edgellm.tui.told.replay import ReplayTransport

MOMENTS = tuple(Moment(5000.0 + i, ordinary(uptime_s=float(i))) for i in range(10))
SPAN = Span(5000.0, 5009.0, 10)


@dataclass
class Clock:
    now_s: float = 77.0

    def __call__(self):
        return self.now_s


def watched(speed, ours):
    """The uptime that is shown at these seconds of ours, or why there is none."""

    async def scenario():
        clock = Clock()
        server = Server("night.rec", transport=ReplayTransport(MOMENTS, SPAN, speed, clock))
        seen = []
        for seconds in ours:
            clock.now_s = 77.0 + seconds
            try:
                seen.append((await server.status()).uptime_s)
            except NotServing as error:
                seen.append(str(error))
        await server.aclose()
        return seen

    return asyncio.run(scenario())


def test_each_moment_is_shown_at_its_time():
    assert watched(1.0, (0, 0.5, 1, 1.9, 2, 9)) == [0, 0, 1, 1, 2, 9]


def test_at_ten_times_the_speed_a_tenth_of_the_time_is_enough():
    assert watched(10.0, (0, 0.05, 0.1, 0.25, 0.9)) == [0, 0, 1, 2, 9]


def test_slowly_it_holds_each_moment_longer():
    assert watched(0.5, (0, 1, 2, 3, 4)) == [0, 0, 1, 1, 2]


def test_after_the_last_one_it_says_that_it_has_ended():
    assert watched(1.0, (0, 9, 10, 11)) == [0, 9, 9, "the recording has ended"]


def test_no_more_of_a_recording_is_held_than_what_is_shown_and_the_next():
    taken = []

    async def scenario():
        clock = Clock()
        moments = (taken.append(moment.at_s) or moment for moment in MOMENTS)
        server = Server("night.rec", transport=ReplayTransport(moments, SPAN, 1.0, clock))
        for seconds in range(10):
            clock.now_s = 77.0 + seconds
            await server.status()
            assert len(taken) == min(seconds + 2, 10)
        await server.aclose()

    asyncio.run(scenario())


def test_a_recordings_span_is_told_without_its_moments():
    assert span_of(iter(MOMENTS)) == SPAN
    assert span_of(MOMENTS[:1]) == Span(5000.0, 5000.0, 1)
    assert span_of(()) is None


@pytest.mark.parametrize(("speed", "look_s"), [(1.0, 1.0), (4.0, 0.25), (600.0, 0.05)])
def test_it_is_asked_as_often_as_there_is_something_else(speed, look_s):
    assert ReplayTransport(MOMENTS, SPAN, speed, Clock()).look_s == look_s


def test_nobody_answers_a_chat():
    async def scenario():
        server = Server("http://x", transport=ReplayTransport(MOMENTS, SPAN, 1.0, Clock()))
        async for _ in server.answer("m", (Message("user", "hi"),)):
            pass

    with pytest.raises(NotServing, match="nobody answers"):
        asyncio.run(scenario())


@in_loop
async def test_the_screen_says_that_it_is_a_replay_how_far_and_how_fast_and_offers_no_chat():
    clock = Clock()
    played = ReplayTransport(MOMENTS, SPAN, 4.0, clock)
    app = TopApp("night.rec", interval_s=0.05, transport=played)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(lambda: app.view.status is not None)
        clock.now_s += 1.0
        await until(lambda: app.view.played.at_s == 4.0)
        first = text([banner(app.view, 100)])
        assert "replay 4.0 s of 9.0 s, 4×" in first
        assert "live" not in first
        assert "last 9 s" in text(dashboard(app.view, 100, 30))

        await pilot.press("c")
        assert not any(
            shown.binding.key == "c"
            for shown in app.screen.active_bindings.values()
            if shown.enabled
        )
        assert type(app.screen).__name__ == "TopScreen"

        clock.now_s += 100.0
        await until(lambda: not app.view.is_live)
        ended = text([banner(app.view, 100)])
        assert "the recording has ended" in ended
        assert "waiting" not in ended
