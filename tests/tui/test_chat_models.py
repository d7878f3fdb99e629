"""Who is asked in the chat, whether it thinks first, and how fast it is."""

from textual.widgets import Static
from tui_chats import ask, chat, legend, transcript
from tui_samples import model, ordinary
from tui_status_server import DONE, StatusServer, delta, finish, in_loop, until, usage

from edgellm.tui.app import TopApp
from edgellm.tui.canvas import Canvas


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
