"""The program against a real server on loopback: it attaches, loses it, finds it again."""

import pytest
from textual.widgets import TextArea
from tui_samples import downloading, model, ordinary
from tui_status_server import StatusServer, in_loop, until

from edgellm.errors import BadRequest, ConfigError
from edgellm.tui.app import TopApp
from edgellm.tui.canvas import Canvas
from edgellm.tui.screens.chat import ChatScreen
from edgellm.tui.screens.sheet import Sheet
from edgellm.tui.screens.top import TopScreen
from edgellm.tui.told.client import Backoff

FAST_S = 0.05


def screen(app):
    return "\n".join(canvas.text() for canvas in app.screen.query(Canvas))


@in_loop
async def test_it_shows_what_the_server_says_and_what_changes():
    async with StatusServer(ordinary()) as server:
        app = TopApp(server.url, interval_s=FAST_S)
        async with app.run_test(size=(80, 24)):
            await until(lambda: "34.5 tok/s" in screen(app))
            assert "● live" in screen(app)

            server.status = ordinary(models=(model(decode_tok_s=41.7),))
            await until(lambda: "41.7 tok/s" in screen(app))


@in_loop
async def test_a_model_that_loads_is_looked_at_more_often_and_the_graphs_keep_their_step():
    async with StatusServer(ordinary(models=(model(state="loading"),))) as server:
        app = TopApp(server.url, interval_s=3600)
        async with app.run_test(size=(80, 24)):
            await until(lambda: "loading" in screen(app))
            server.status = ordinary(models=(model(state="ready"),))
            await until(lambda: "● ready" in screen(app))

            assert len(app.view.decode_tok_s) == 1


@in_loop
async def test_it_survives_a_server_that_goes_and_comes_back():
    async with StatusServer(ordinary()) as server:
        app = TopApp(server.url, interval_s=FAST_S)
        async with app.run_test(size=(80, 24)):
            await until(lambda: "● live" in screen(app))
            canvas = app.screen.query_one(Canvas)

            await server.stop()
            await until(lambda: f"no server at {server.url} – waiting" in screen(app))
            assert "34.5 tok/s" in screen(app)
            assert canvas.has_class("-stale")

            server.status = ordinary(models=(model(name="another"),))
            await server.start()
            await until(lambda: "another" in screen(app))
            assert "● live" in screen(app)
            assert not canvas.has_class("-stale")
            assert None in app.view.decode_tok_s


@in_loop
async def test_it_can_be_started_before_the_server():
    server = StatusServer(ordinary())
    async with server:
        await server.stop()
        app = TopApp(server.url, interval_s=FAST_S)
        async with app.run_test(size=(80, 24)):
            await until(lambda: "no server at" in screen(app))
            assert "edgellm up" in screen(app)

            await server.start()
            await until(lambda: "qwen3:8b" in screen(app))


@in_loop
async def test_a_key_is_sent_and_a_wrong_one_is_named():
    async with StatusServer(ordinary(), api_key="secret") as server:
        app = TopApp(server.url, api_key=lambda: "secret", interval_s=FAST_S)
        async with app.run_test(size=(80, 24)):
            await until(lambda: "● live" in screen(app))

        app = TopApp(server.url, api_key=lambda: "wrong", interval_s=FAST_S)
        async with app.run_test(size=(80, 24)):
            await until(lambda: "wants another API key" in screen(app))
            assert "start a server" not in screen(app), "one is there"

        app = TopApp(server.url, interval_s=FAST_S)
        async with app.run_test(size=(80, 24)):
            await until(lambda: "wants an API key" in screen(app))


@in_loop
async def test_settings_that_break_meanwhile_are_told_and_mended_ones_are_heeded():
    """The key is asked for at each request, and may stand in the settings."""
    broken = [ConfigError("config.toml: line 3 is no TOML")]

    def key():
        if broken:
            raise broken[0]
        return "secret"

    async with StatusServer(ordinary(), api_key="secret") as server:
        app = TopApp(server.url, api_key=key, interval_s=FAST_S)
        async with app.run_test(size=(80, 24)):
            await until(lambda: "line 3 is no TOML" in screen(app))

            broken.clear()
            await until(lambda: "● live" in screen(app))


@pytest.mark.parametrize(
    "words", [b"<html>", b'{"version": 3}', b"\xff\xfe", b'{"version": "\xff"}', b"[" * 99_999]
)
@in_loop
async def test_a_stranger_on_the_port_is_not_mistaken_for_edgellm(words):
    async with StatusServer(ordinary()) as server:
        server.raw_status = words
        app = TopApp(server.url, interval_s=FAST_S)
        async with app.run_test(size=(80, 24)):
            await until(lambda: "another version" in screen(app))
            assert "start a server" not in screen(app)

            server.raw_status = None
            await until(lambda: "● live" in screen(app))


@in_loop
async def test_hostile_names_reach_no_terminal():
    hostile = "[link=x]evil\x1b]52;c;ZXZpbA==\x07\u202e"
    async with StatusServer(ordinary(models=(model(name=hostile),), log=(hostile,))) as server:
        app = TopApp(server.url, interval_s=FAST_S)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(lambda: "[link=x]evil" in screen(app))
            for key in ("p", "escape", "l", "escape"):
                await pilot.press(key)
                await until(lambda: "[link=x]evil" in screen(app))
            svg = app.export_screenshot()
            assert "\x1b" not in svg
            assert "\u202e" not in svg


@in_loop
async def test_every_key_of_the_legend_does_what_it_says():
    async with StatusServer(ordinary()) as server:
        app = TopApp(server.url, interval_s=FAST_S)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(lambda: "● live" in screen(app))
            for key, words in (
                ("p", "31.0 · 35.0 · 40.0"),
                ("l", "offloaded 37/37"),
                ("question_mark", "how to read it"),
            ):
                for closing in ("t", key, "escape"):
                    await pilot.press(key)
                    await until(lambda: isinstance(app.screen, Sheet))
                    await until(lambda words=words: words in screen(app))
                    await pilot.press(closing)
                    await until(lambda: isinstance(app.screen, TopScreen))

            await pilot.press("c")
            await until(lambda: isinstance(app.screen, ChatScreen))
            await until(lambda: isinstance(app.focused, TextArea))
            await pilot.press("escape")
            await until(lambda: isinstance(app.screen, TopScreen))

            await pilot.press("q")
            await until(lambda: not app.is_running)


@in_loop
async def test_a_sheets_key_turns_from_another_sheet_to_it():
    async with StatusServer(ordinary()) as server:
        app = TopApp(server.url, interval_s=FAST_S)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(lambda: "● live" in screen(app))
            await pilot.press("p", "l")
            await until(lambda: "offloaded 37/37" in screen(app))
            await pilot.press("question_mark")
            await until(lambda: "how to read it" in screen(app))
            assert len(app.screen_stack) == 3, "sheets do not pile up"
            await pilot.press("escape")
            await until(lambda: isinstance(app.screen, TopScreen))


@in_loop
async def test_it_can_begin_with_the_chat():
    async with StatusServer(ordinary()) as server:
        app = TopApp(server.url, start_screen="chat", interval_s=FAST_S)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(lambda: "qwen3:8b" in screen(app))
            assert isinstance(app.screen, ChatScreen)
            await pilot.press("escape")
            await until(lambda: isinstance(app.screen, TopScreen))
            await until(lambda: "Q4_K_M" in screen(app))


@in_loop
async def test_a_sheet_is_as_tall_as_what_is_on_it():
    async with StatusServer(ordinary(log=("one", "two"))) as server:
        app = TopApp(server.url, interval_s=FAST_S)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(lambda: "● live" in screen(app))
            await pilot.press("l")
            sheet = app.screen.query_one(Canvas).parent
            await until(lambda: (sheet.size.height, sheet.scroll_y) == (2, 0))


@in_loop
async def test_a_sheet_that_is_open_follows_the_server():
    async with StatusServer(ordinary(log=("one",))) as server:
        app = TopApp(server.url, interval_s=FAST_S)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(lambda: "● live" in screen(app))
            await pilot.press("l")
            server.status = ordinary(log=tuple(f"line {i}" for i in range(90)))
            await until(lambda: "line 89" in screen(app))
            sheet = app.screen.query_one(Canvas).parent
            await until(lambda: sheet.scroll_y == sheet.max_scroll_y > 0)

            await pilot.press("home")
            await until(lambda: sheet.scroll_y == 0)
            n_told = server.n_status
            await until(lambda: server.n_status >= n_told + 3)
            assert sheet.scroll_y == 0, "whoever reads above is not pulled down"


@in_loop
async def test_the_screen_follows_the_terminals_size():
    async with StatusServer(ordinary(download=downloading())) as server:
        app = TopApp(server.url, interval_s=FAST_S)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(lambda: "● live" in screen(app))
            await pilot.resize_terminal(120, 40)
            await until(lambda: "hot 83 °C" in screen(app))
            assert max(len(line) for line in screen(app).split("\n")) == 120
            await pilot.resize_terminal(30, 8)
            await until(lambda: "decode  34.5 tok/s" in screen(app))


@in_loop
async def test_only_lines_that_changed_are_painted_again():
    async with StatusServer(ordinary()) as server:
        app = TopApp(server.url, interval_s=3600)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(lambda: "● live" in screen(app))
            await pilot.pause()
            canvas = app.screen.query_one(Canvas)
            before = [canvas.render_line(y) for y in range(23)]

            app.view = app.view.seen(ordinary(uptime_s=11_580.0))
            await pilot.pause()
            after = [canvas.render_line(y) for y in range(23)]

            repainted = [y for y in range(23) if before[y] is not after[y]]
            assert 0 in repainted
            assert len(repainted) <= 6  # the first line and the graphs
            assert [strip.text for strip in after][12:] == [strip.text for strip in before][12:]


def test_knocking_gets_slower_and_starts_anew_after_an_answer():
    backoff = Backoff()

    assert [backoff.wait_s() for _ in range(6)] == [0.5, 1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.wait_s() == 0.5


def test_without_a_terminal_it_says_what_else_there_is():
    with pytest.raises(BadRequest) as caught:
        TopApp("http://127.0.0.1:1").run()

    assert "ps" in caught.value.hint


@in_loop
async def test_of_several_models_a_key_shows_the_next_one():
    async with StatusServer(ordinary()) as server:
        app = TopApp(server.url, interval_s=FAST_S)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(lambda: "● live" in screen(app))
            await pilot.press("m")
            assert app.view.chosen is None, "there is no other"

            server.status = ordinary(models=(model(), model(name="another", state="sleeping")))
            await until(lambda: len(app.view.choices) == 2)
            await pilot.press("m")
            await until(lambda: "sleeping" in screen(app))
            assert app.view.model.name == "another"
            await pilot.press("m")
            await until(lambda: app.view.model.name == "qwen3:8b")
