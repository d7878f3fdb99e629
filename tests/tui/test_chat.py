"""The chat against a real server on loopback: streams, stops, failures."""

from contextlib import asynccontextmanager

import pytest
from textual.events import Key
from textual.widgets import Static
from textual.widgets._footer import FooterKey
from tui_samples import model, ordinary
from tui_status_server import (
    CUT,
    DONE,
    PING,
    StatusServer,
    delta,
    failure,
    finish,
    in_loop,
    until,
    usage,
)

from edgellm.tui.app import TopApp
from edgellm.tui.canvas import Canvas
from edgellm.tui.prompt import Prompt


@asynccontextmanager
async def chat(newest=None, **options):
    async with StatusServer(newest or ordinary()) as server:
        for name, value in options.items():
            setattr(server, name, value)
        app = TopApp(server.url, start_screen="chat", interval_s=0.05)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(lambda: app.view.status is not None)
            yield app, pilot, server


def transcript(app):
    return "\n".join(str(static.content) for static in app.screen.query(Static))


def legend(app):
    return [key.description for key in app.screen.query(FooterKey)]


async def ask(pilot, text):
    pilot.app.screen.query_one(Prompt).insert(text)
    await pilot.press("enter")


@in_loop
async def test_an_answer_streams_in_with_its_speed_and_first_token():
    script = [PING, delta("Hel"), delta("lo"), finish(), usage(3, n_cached=7, tok_s=34.5), DONE]
    async with chat(script=script) as (app, pilot, server):
        await ask(pilot, "hi")
        await until(lambda: "34.5 tok/s · first token after" in transcript(app))

        assert "hi" in transcript(app)
        assert "Hello" in transcript(app)
        assert "7 prompt tokens from the cache" in transcript(app)
        assert server.questions[0]["model"] == "qwen3:8b"
        assert server.questions[0]["messages"] == [{"role": "user", "content": "hi"}]
        assert server.questions[0]["stream_options"] == {"include_usage": True}
        assert app.screen.query_one(Prompt).text == ""


@in_loop
async def test_the_conversation_goes_on_and_can_be_begun_anew():
    async with chat() as (app, pilot, server):
        await ask(pilot, "one")
        await until(lambda: "3 tokens" in transcript(app))
        await ask(pilot, "two")
        await until(lambda: len(server.questions) == 2)
        assert [m["content"] for m in server.questions[1]["messages"]] == [
            "one",
            "Hello there",
            "two",
        ]
        await until(lambda: transcript(app).count("3 tokens") == 2)

        await pilot.press("ctrl+n")
        await until(lambda: "one" not in transcript(app).split("\n"))
        await ask(pilot, "three")
        await until(lambda: len(server.questions) == 3)
        assert len(server.questions[2]["messages"]) == 1


@in_loop
async def test_a_new_chat_knows_nothing_of_an_answer_that_still_came():
    async with chat(script=[delta("word ")] * 400, pause_s=0.02) as (app, pilot, server):
        await ask(pilot, "go on")
        await until(lambda: "word word" in transcript(app))
        await pilot.press("ctrl+n")
        await until(lambda: server.n_cut_off == 1)
        await until(lambda: "word word" not in transcript(app))
        await ask(pilot, "again")
        await until(lambda: len(server.questions) == 2)
        assert server.questions[1]["messages"] == [{"role": "user", "content": "again"}]


@pytest.mark.parametrize("key", ["escape", "ctrl+c"])
@in_loop
async def test_an_answer_can_be_stopped_and_the_server_learns_of_it(key):
    async with chat(script=[delta("word ")] * 400, pause_s=0.02) as (app, pilot, server):
        await ask(pilot, "go on")
        await until(lambda: "word word" in transcript(app))
        await pilot.press(key)
        await until(lambda: "stopped" in transcript(app))

        assert "word word" in transcript(app)
        await until(lambda: server.n_cut_off == 1)
        await ask(pilot, "again")
        await until(lambda: len(server.questions) == 2)
        assert server.questions[1]["messages"][1]["content"].startswith("word word")


@in_loop
async def test_a_second_question_waits_for_the_first_answer():
    async with chat(script=[delta("word ")] * 400, pause_s=0.02) as (app, pilot, server):
        await ask(pilot, "one")
        await until(lambda: "word" in transcript(app))
        await ask(pilot, "two")

        assert len(server.questions) == 1
        assert app.screen.query_one(Prompt).text == "two"


@pytest.mark.parametrize("late", [False, True])
@in_loop
async def test_a_conversation_that_outgrows_the_context_goes_on_with_its_newer_half(late):
    async with chat(most_messages=5, refuses_late=late) as (app, pilot, server):
        for i, question in enumerate(("one", "two", "three", "four"), 1):
            await ask(pilot, question)
            await until(lambda i=i: transcript(app).count("3 tokens") == i)

        assert "2 earlier questions left out: the context is full" in transcript(app)
        asked = [message["content"] for message in server.questions[-1]["messages"]]
        assert asked == ["three", "Hello there", "four"]

        await ask(pilot, "five")
        await until(lambda: transcript(app).count("3 tokens") == 5)
        assert len(server.questions[-1]["messages"]) == 5
        assert transcript(app).count("left out") == 1


@in_loop
async def test_a_question_that_is_too_long_by_itself_is_refused_and_nothing_is_left_out():
    async with chat() as (app, pilot, server):
        await ask(pilot, "one")
        await until(lambda: "3 tokens" in transcript(app))
        server.most_messages = 0
        await ask(pilot, "two")
        await until(lambda: "✗ it is too long" in transcript(app))

        server.most_messages = None
        await ask(pilot, "three")
        await until(lambda: transcript(app).count("3 tokens") == 2)
        assert [m["content"] for m in server.questions[-1]["messages"]] == [
            "one", "Hello there", "three",
        ]  # fmt: skip


FAILURES = {
    "a refusal": ({"refusal": (429, "the queue is full")}, "✗ the queue is full"),
    "an error event": ({"script": [delta("a"), failure("the worker died")]}, "✗ the worker died"),
    "a cut": ({"script": [delta("half"), CUT], "pause_s": 0.1}, "✗ the connection broke"),
    "no end": ({"script": [delta("half"), finish()]}, "✗ the answer broke off"),
    "garbage": ({"script": [b"data: {\n\n"]}, "✗ the answer can't be read"),
}


@pytest.mark.parametrize("name", FAILURES)
@in_loop
async def test_a_failure_is_told_and_the_next_question_works(name):
    options, words = FAILURES[name]
    async with chat(**options) as (app, pilot, server):
        await ask(pilot, "hi")
        await until(lambda: words in transcript(app))

        server.refusal, server.script, server.pause_s = None, [delta("fine"), finish(), DONE], 0
        await ask(pilot, "again")
        await until(lambda: "fine" in transcript(app))
        assert server.questions[-1]["messages"] == [{"role": "user", "content": "again"}]


@in_loop
async def test_without_a_server_or_a_model_the_question_is_refused_with_the_reason():
    async with chat(ordinary(models=(model(state="failed", detail="out of memory"),))) as chatting:
        app, pilot, server = chatting
        await ask(pilot, "hi")
        await until(lambda: "✗ qwen3:8b is failed: out of memory" in transcript(app))

        server.status = ordinary(models=())
        await until(lambda: not app.view.status.models)
        await ask(pilot, "hi")
        await until(lambda: "✗ the server has no model yet" in transcript(app))

        await server.stop()
        await until(lambda: not app.view.is_live)
        server.status = ordinary()
        await ask(pilot, "hi")
        await until(lambda: transcript(app).count("✗ the server has no model yet") == 2)
        assert server.questions == []


@in_loop
async def test_a_server_that_is_gone_is_told_with_the_question():
    async with chat() as (app, pilot, server):
        await server.stop()
        await until(lambda: not app.view.is_live)
        await ask(pilot, "hi")
        await until(lambda: "✗ no server at" in transcript(app))


@in_loop
async def test_a_question_waits_for_a_model_that_is_loading():
    async with chat(ordinary(models=(model(state="loading"),))) as (app, pilot, server):
        await ask(pilot, "hi")
        await until(lambda: "qwen3:8b is loading; your question waits" in transcript(app))
        assert server.questions == []

        server.status = ordinary(models=(model(name="another"),))  # it came in its place
        await until(lambda: "Hello there" in transcript(app))
        assert [q["model"] for q in server.questions] == ["another"]
        assert "waits" not in transcript(app)


@in_loop
async def test_a_question_that_waits_can_be_stopped():
    async with chat(ordinary(models=(model(state="loading"),))) as (app, pilot, server):
        await ask(pilot, "hi")
        await until(lambda: "your question waits" in transcript(app))
        await pilot.press("escape")
        await until(lambda: "stopped" in transcript(app))

        server.status = ordinary()
        await until(lambda: app.view.model.state == "ready")
        await ask(pilot, "again")
        await until(lambda: "Hello there" in transcript(app))
        assert [q["messages"][0]["content"] for q in server.questions] == ["again"]


def type_ahead(app, text):
    """As a terminal hands over what was typed while the program was busy: all at once."""
    for letter in text:
        name = {"\n": "enter", " ": "space"}.get(letter, letter)
        app.post_message(Key(name, "\r" if letter == "\n" else letter))


@in_loop
async def test_enter_does_not_overtake_the_letters_before_it():
    async with chat() as (app, _, server):
        type_ahead(app, "hi there\n")
        await until(lambda: "Hello there" in transcript(app))
        assert server.questions[0]["messages"] == [{"role": "user", "content": "hi there"}]


@in_loop
async def test_what_is_typed_after_enter_is_the_next_question():
    async with chat(script=[delta("word ")] * 400, pause_s=0.02) as (app, _, server):
        type_ahead(app, "one\ntwo")
        await until(lambda: "word" in transcript(app))
        assert server.questions[0]["messages"][0]["content"] == "one"
        assert app.screen.query_one(Prompt).text == "two"


@in_loop
async def test_a_question_can_be_typed_before_the_chat_has_opened():
    async with StatusServer(ordinary()) as server:
        app = TopApp(server.url, interval_s=0.05)
        async with app.run_test(size=(80, 24)):
            await until(lambda: app.view.status is not None)
            type_ahead(app, "cplease help\n")
            await until(lambda: len(server.questions) == 1)
            assert server.questions[0]["messages"][0]["content"] == "please help"


@in_loop
async def test_an_answer_is_text_and_nothing_else():
    evil = "[link=x]y[/] \x1b]52;c;ZXZpbA==\x07[@click=app.quit]q[/] \x1b[2J\u202eend"
    async with chat(script=[delta(c) for c in evil] + [finish(), DONE]) as (app, pilot, _):
        await ask(pilot, "[bold]hi")
        await until(lambda: "end" in transcript(app))

        assert "[link=x]y[/] [@click=app.quit]q[/] end" in transcript(app)
        assert "[bold]hi" in transcript(app)
        svg = app.export_screenshot()
        assert "\x1b" not in svg
        assert "link=x" in svg


@in_loop
async def test_thoughts_are_shown_apart_and_not_sent_back():
    script = [delta("hmm", field="reasoning_content"), delta("yes"), finish(), DONE]
    async with chat(script=script) as (app, pilot, server):
        await ask(pilot, "really?")
        await until(lambda: "yes" in transcript(app))
        await until(lambda: "first token" in transcript(app))
        assert str(app.screen.query_one("#thought", Static).content) == "hmm"

        await ask(pilot, "sure?")
        await until(lambda: len(server.questions) == 2)
        assert server.questions[1]["messages"][1] == {"role": "assistant", "content": "yes"}


@in_loop
async def test_whether_the_model_thinks_is_said_with_a_key():
    async with chat() as (app, pilot, server):
        for i in range(1, 5):
            await ask(pilot, "hi")
            await until(lambda i=i: transcript(app).count("3 tokens") == i)
            await pilot.press("ctrl+t")
            facts = app.screen.query_one("#facts", Canvas).text()
            signs = [sign for sign in ("no thoughts", "thinks first") if sign in facts]
            assert signs == [["no thoughts"], ["thinks first"], [], ["no thoughts"]][i - 1]
        asked = [question.get("enable_thinking") for question in server.questions]
        assert asked == [None, False, True, None]


@in_loop
async def test_a_model_that_cannot_switch_its_thoughts_has_no_key_for_it():
    async with chat() as (app, pilot, server):
        shown = lambda: "thoughts" in legend(app)  # noqa: E731
        await until(shown)
        await pilot.press("ctrl+t")
        server.status = ordinary(models=(model(switches_thoughts=False),))
        await until(lambda: not shown())
        await pilot.press("ctrl+t")
        told = [one.message for one in app._notifications]
        assert told == ["qwen3:8b can't be told whether to think"]
        await ask(pilot, "hi")
        await until(lambda: "3 tokens" in transcript(app))
        assert "enable_thinking" not in server.questions[0]


@in_loop
async def test_what_is_told_twice_stands_there_once():
    async with chat() as (app, pilot, _):
        await pilot.press("ctrl+c", "ctrl+c")
        await until(lambda: len(app._notifications) > 0)
        assert len(app._notifications) == 1


@in_loop
async def test_the_arrows_bring_questions_back_and_ctrl_j_makes_a_line():
    async with chat() as (app, pilot, server):
        prompt = app.screen.query_one(Prompt)
        await ask(pilot, "one")
        await until(lambda: "3 tokens" in transcript(app))
        prompt.insert("draft")
        await pilot.press("up")
        assert prompt.text == "one"
        await pilot.press("down")
        assert prompt.text == "draft"

        await pilot.press("ctrl+j", "x")
        assert prompt.text == "draft\nx"
        await pilot.press("ctrl+c")
        assert prompt.text == ""
        assert len(server.questions) == 1


@in_loop
async def test_the_conversation_is_still_there_after_a_look_at_the_dashboard():
    async with chat() as (app, pilot, _):
        await ask(pilot, "hi")
        await until(lambda: "3 tokens" in transcript(app))
        await pilot.press("escape", "c")

        assert "Hello there" in transcript(app)
        assert "● ready" in app.screen.query_one("#facts", Canvas).text()


@in_loop
async def test_after_the_answer_its_own_speed_is_shown_and_no_decaying_one():
    idle = ordinary(models=(model(n_running=0, decode_tok_s=3.3, sequences=()),))
    script = [delta("Hello"), finish(), usage(3, tok_s=34.5), DONE]
    async with chat(idle, script=script) as (app, pilot, _):
        facts = app.screen.query_one("#facts", Canvas)
        await until(lambda: "– · 0 running" in facts.text())
        await ask(pilot, "hi")
        await until(lambda: "last answer 34.5 tok/s · 0 running" in facts.text())
        assert "3.3" not in facts.text()


@in_loop
async def test_while_an_answer_is_written_alone_its_own_speed_is_shown_and_not_the_mean():
    async with chat(ordinary(models=(model(decode_tok_s=3.3),))) as (app, _, _):
        facts = app.screen.query_one("#facts", Canvas)
        await until(lambda: "34.5 tok/s · 1 running" in facts.text())


@in_loop
async def test_on_a_narrow_screen_the_models_name_stays_and_cells_give_way():
    async with StatusServer(ordinary()) as server:
        app = TopApp(server.url, start_screen="chat", interval_s=0.05)
        async with app.run_test(size=(60, 20)):
            await until(lambda: app.view.status is not None)
            facts = app.screen.query_one("#facts", Canvas).text()

            assert "qwen3:8b  ● ready" in facts
            assert "1 running · 0 waiting" in facts
            assert "cells" not in facts


@in_loop
async def test_of_several_models_a_key_chooses_who_is_asked_next():
    two = ordinary(models=(model(name="one"), model(name="two", state="sleeping")))
    async with chat(newest=two) as (app, pilot, server):
        await until(lambda: "model" in legend(app))
        await ask(pilot, "first")
        await until(lambda: "3 tokens" in transcript(app))
        await pilot.press("ctrl+o")
        await until(lambda: " two  " in app.screen.query_one("#facts", Canvas).text())
        await ask(pilot, "second")
        await until(lambda: len(server.questions) == 2)

        assert [asked["model"] for asked in server.questions] == ["one", "two"]
        assert len(server.questions[1]["messages"]) == 3, "the conversation goes on"


@in_loop
async def test_a_conversation_stays_with_its_model_though_another_is_loaded_in_its_place():
    two = ordinary(models=(model(name="one"), model(name="two", state="sleeping")))
    async with chat(newest=two) as (app, pilot, server):
        await ask(pilot, "first")
        await until(lambda: "3 tokens" in transcript(app))
        turned = (model(name="one", state="sleeping"), model(name="two"))
        server.status = ordinary(models=turned)
        await until(lambda: app.view.status.models == turned)
        await ask(pilot, "second")
        await until(lambda: len(server.questions) == 2)

        assert [asked["model"] for asked in server.questions] == ["one", "one"]


@in_loop
async def test_with_one_model_there_is_none_to_choose():
    async with chat() as (app, pilot, server):
        assert "model" not in legend(app)
        await pilot.press("ctrl+o")
        await ask(pilot, "hi")
        await until(lambda: server.questions)
