"""What is typed in the chat: ahead, again, over several lines."""

from textual.events import Key
from tui_chats import ask, chat, transcript
from tui_samples import ordinary
from tui_status_server import StatusServer, delta, in_loop, until

from edgellm.tui.app import TopApp
from edgellm.tui.prompt import Prompt


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
async def test_a_question_that_comes_too_early_is_put_back_above_what_was_typed_since():
    async with chat(script=[delta("word ")] * 400, pause_s=0.02) as (app, _, server):
        type_ahead(app, "one\n")
        await until(lambda: "word" in transcript(app))
        type_ahead(app, "two\nthree")
        await until(lambda: app.screen.query_one(Prompt).text == "two\nthree")
        assert len(server.questions) == 1


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
