"""The chat against a real server on loopback: streams, stops, failures."""

import pytest
from tui_chats import ask, chat, transcript
from tui_samples import model, ordinary
from tui_status_server import CUT, DONE, PING, delta, failure, finish, in_loop, until, usage

from edgellm.tui.canvas import Canvas
from edgellm.tui.prompt import Prompt


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
async def test_the_conversation_is_still_there_after_a_look_at_the_dashboard():
    async with chat() as (app, pilot, _):
        await ask(pilot, "hi")
        await until(lambda: "3 tokens" in transcript(app))
        await pilot.press("escape", "c")

        assert "Hello there" in transcript(app)
        assert "● ready" in app.screen.query_one("#facts", Canvas).text()
