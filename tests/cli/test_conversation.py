import asyncio
import contextlib
import io
import signal
import threading
from dataclasses import replace

import pytest
from pictures import png
from server.server_fakes import HANG, FakeEngine, live_server, served, words
from tui_samples import ordinary
from tui_status_server import StatusServer, in_loop
from typed_lines import typing

from edgellm.chat.events import Failed, ReasoningDelta, TextDelta
from edgellm.cli.conversation import (
    _HELP,
    ChatSession,
    converse,
    timing_lines,
    whole_answer_of,
)
from edgellm.cli.history import History
from edgellm.errors import ContextTooLong, EdgellmError, WorkerDied
from edgellm.tui.told.answers import Piece, Timings
from edgellm.tui.told.questions import Message


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def session(engine):
    with live_server(served(engine=engine)) as live:
        yield ChatSession(live.url, "tiny")


def test_an_answer_is_written_and_remembered(session, capsys):
    session.ask("Hi")

    assert capsys.readouterr().out == "Hello there\n"
    assert session.said == [Message("user", "Hi"), Message("assistant", "Hello there")]


def test_the_next_question_brings_what_was_said_before(session, engine, capsys):
    session.system = "Be brief."
    session.ask("Hi")
    session.ask("And?")

    prompt, _ = engine.asked[-1]
    assert [prompt.find(word) >= 0 for word in ("Be brief.", "Hi", "Hello there", "And?")] == [
        True
    ] * 4


def test_a_question_without_any_answer_is_forgotten(session, engine):
    engine.scripts = [[Failed("out of luck", 500)]]

    with pytest.raises(EdgellmError):
        session.ask("Hi")
    assert session.said == []


def press_ctrl_c_soon():
    main = threading.main_thread().ident
    threading.Timer(0.3, signal.pthread_kill, [main, signal.SIGINT]).start()


@pytest.mark.parametrize("events", [[], [ReasoningDelta("Hm. ")]])
def test_a_question_that_was_stopped_before_its_first_word_is_forgotten(
    session, engine, events, capsys
):
    engine.scripts = [words("one"), [*events, HANG], words("three")]
    session.ask("first")
    press_ctrl_c_soon()
    with pytest.raises(KeyboardInterrupt):
        session.ask("second")
    session.ask("third")

    assert [message.content for message in session.said] == ["first", "one", "third", "three"]


def test_what_was_stopped_is_remembered_as_far_as_it_came(session, engine, capsys):
    engine.scripts = [[TextDelta("Hel"), HANG]]
    press_ctrl_c_soon()
    with pytest.raises(KeyboardInterrupt):
        session.ask("Hi")

    assert session.said == [Message("user", "Hi"), Message("assistant", "Hel")]


def test_an_answer_without_a_word_is_forgotten_with_its_question(session, engine, capsys):
    engine.scripts = [[ReasoningDelta("Hm."), *words("", reason="length")]]
    session.ask("Hi")

    assert session.said == []


def test_an_answer_that_never_began_leaves_no_line(session, engine, capsys):
    engine.scripts = [[Failed("out of luck", 500)]]

    with pytest.raises(EdgellmError):
        session.ask("Hi")
    assert capsys.readouterr().out == ""


def test_what_an_answer_had_said_before_it_broke_is_remembered(session, engine, capsys):
    engine.scripts = [[TextDelta("Hel"), Failed("out of luck", 502)]]

    with pytest.raises(WorkerDied):
        session.ask("Hi")
    assert session.said[-1] == Message("assistant", "Hel")


def test_a_conversation_that_outgrows_the_context_goes_on_with_its_newer_half(
    session, engine, capsys
):
    session.system = "Be brief."
    engine.scripts = [words("one"), words("two"), ContextTooLong("too long"), words("three")]
    converse(session, typing("first", "second", "third", "fourth"))

    assert "(1 earlier question left out: the context is full)" in capsys.readouterr().err
    for prompt in (engine.asked[3][0], engine.asked[4][0]):
        assert [word in prompt for word in ("Be brief.", "first", "second")] == [True, False, True]


@in_loop
async def test_a_context_that_is_found_full_after_ten_seconds_is_full_all_the_same(capsys):
    async with StatusServer(ordinary()) as server:
        server.most_messages, server.refuses_late = 3, True
        session = ChatSession(server.url, "m")
        for question in ("first", "second", "third"):
            await asyncio.to_thread(session.ask, question)

    assert "(1 earlier question left out: the context is full)" in capsys.readouterr().err
    asked = [message.content for message in session.said]
    assert asked == ["second", "Hello there", "third", "Hello there"]


def test_a_question_that_is_too_long_by_itself_is_refused_and_nothing_is_left_out(
    session, engine, capsys
):
    engine.scripts = [words("one"), ContextTooLong("a"), ContextTooLong("b"), words("three")]
    converse(session, typing("first", "second", "third"))

    assert "left out" not in capsys.readouterr().err
    assert [message.content for message in session.said] == ["first", "one", "third", "three"]


def test_an_answer_that_the_context_cut_is_told_but_not_one_that_was_to_be_short(
    session, engine, capsys
):
    engine.scripts = [words("Hel", reason="length")]
    session.ask("Hi")
    assert "(cut at the length limit)" in capsys.readouterr().err

    session.options = {"max_tokens": 1}
    session.ask("Hi")
    assert capsys.readouterr().err == ""


@pytest.fixture
def seeing(engine):
    engine.plan = replace(engine.plan, projector="mmproj.gguf")
    with live_server(served(engine=engine)) as live:
        yield ChatSession(live.url, "tiny")


def test_pictures_are_shown_with_the_next_question_and_stay_in_what_was_said(
    seeing, engine, tmp_path, capsys
):
    red, blue = tmp_path / "red.png", tmp_path / "blue picture.png"
    red.write_bytes(png())
    blue.write_bytes(png(colour=(0, 0, 255)))
    converse(seeing, typing(f"/image {red}", f"/image {blue}", "What?", "And?"))

    files = [params.pictures.files for _, params in engine.asked]
    assert files == [(red.read_bytes(), blue.read_bytes())] * 2
    assert [type(message.content) for message in seeing.said] == [tuple, str, str, str]


def test_a_picture_that_cannot_be_shown_is_told_and_the_question_goes_without(
    seeing, engine, tmp_path, capsys
):
    converse(seeing, typing(f"/image {tmp_path / 'none.png'}", "/image", "What?"))

    err = capsys.readouterr().err
    assert "none.png: No such file" in err
    assert "(/image FILE: which file?)" in err
    assert [params.pictures for _, params in engine.asked] == [None]


def test_what_is_shown_to_a_model_without_a_projector_is_refused_before_it_is_asked(
    session, engine, tmp_path, capsys
):
    picture = tmp_path / "red.png"
    picture.write_bytes(png())
    converse(session, typing(f"/image {picture}", f"/audio {picture}", "What?"))

    err = " ".join(capsys.readouterr().err.split())
    assert "tiny sees no pictures: it is served without a projector" in err
    assert "tiny hears no sound: it is served without a projector" in err
    assert "edgellm run gemma3:4b" in err
    assert "edgellm run ggml-org/ultravox" in err
    assert "--mmproj FILE" in err
    assert [params.pictures for _, params in engine.asked] == [None]


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_lines_end_between_words_on_a_terminal_and_not_in_a_file(
    session, engine, monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", "20")
    engine.scripts = [words("Once upon a time there was a fox")]
    session.ask("Hi")
    screen = Screen()
    with contextlib.redirect_stdout(screen):
        session.ask("Hi")

    assert capsys.readouterr().out == "Once upon a time there was a fox\n"
    assert screen.getvalue() == "Once upon a time\nthere was a fox\n"


def thoughtful(session, engine):
    """What a terminal gets of an answer that begins with a thought."""
    engine.scripts = [[ReasoningDelta("Hm. "), ReasoningDelta("Yes."), *words("Hello")]]
    screen = Screen()
    with contextlib.redirect_stdout(screen):
        session.ask("Hi")
    return screen.getvalue()


def test_thoughts_are_faint_on_a_terminal(session, engine, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    assert thoughtful(session, engine) == "\x1b[2mHm. Yes.\x1b[0m\n\nHello\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_thoughts_are_marked_where_nothing_may_be_faint(session, engine, monkeypatch, name, value):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)

    assert thoughtful(session, engine) == "(thinking) Hm. Yes.\n\nHello\n"


def test_thoughts_are_not_written_into_a_file(session, engine, capsys):
    engine.scripts = [[ReasoningDelta("Hm."), *words("Hello")]]
    session.ask("Hi")

    assert capsys.readouterr().out == "Hello\n"


def test_thoughts_can_be_hidden(session, engine, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    session.shows_thoughts = False

    assert thoughtful(session, engine) == "Hello\n"


def test_an_answer_is_told_whole_with_its_figures_and_nothing_is_written(session, engine, capsys):
    engine.scripts = [[ReasoningDelta("Hm. "), ReasoningDelta("Yes."), *words("Hello there")]]
    told = session.whole_answer("Hi")

    assert capsys.readouterr().out == ""
    assert (told.model, told.text, told.thoughts, told.reason) == (
        "tiny", "Hello there", "Hm. Yes.", "stop",
    )  # fmt: skip
    assert (told.n_prompt, told.n_cached, told.n_output) == (7, 3, 2)
    assert told.decode_tok_s
    assert told.total_s > 0


def test_what_a_server_does_not_tell_of_its_answer_is_unknown():
    told = whole_answer_of(Piece("Hi", reason="stop"), "m", 1.0)

    assert (told.n_prompt, told.n_output, told.decode_tok_s) == (None, None, None)


def test_a_conversation_ends_with_bye(session, engine, capsys):
    converse(session, typing("Hi", "/bye", "never"))

    assert len(engine.asked) == 1


def test_a_conversation_ends_with_the_input(session, engine, capsys):
    converse(session, typing("Hi", "", "Again"))

    assert len(engine.asked) == 2


def test_ctrl_c_at_the_prompt_goes_on(session, engine, capsys):
    converse(session, typing(KeyboardInterrupt(), "Hi"))

    assert len(engine.asked) == 1


def test_a_failed_answer_does_not_end_the_conversation(session, engine, capsys):
    engine.scripts = [[Failed("out of luck", 502)], words("Fine")]
    converse(session, typing("Hi", "Again"))

    out, err = capsys.readouterr()
    assert "out of luck" in err
    assert "Fine" in out


def test_clear_forgets_and_system_instructs(session, engine, capsys):
    converse(session, typing("Hi", "/clear", "/system Speak like a pirate", "Again"))

    prompt, _ = engine.asked[-1]
    assert "pirate" in prompt
    assert "Hi" not in prompt


def test_every_command_is_answered(session, engine, capsys):
    converse(session, typing("/clear", "/system Be brief", "/system", "/verbose", "/verbose"))

    assert capsys.readouterr().err.splitlines()[1:] == [
        "(what was said is forgotten)",
        "(the model is told this before everything; what was said is forgotten)",
        "(the model is told nothing; what was said is forgotten)",
        "(how long an answer took is told)",
        "(how long an answer took is no longer told)",
    ]


def test_an_unknown_command_is_not_sent_to_the_model(session, engine, capsys):
    converse(session, typing("/nosuch", "/?"))

    assert engine.asked == []
    assert "/nosuch is no command" in capsys.readouterr().out


def test_three_quotes_make_a_question_of_several_lines(session, engine, capsys):
    converse(session, typing('"""first', "second", 'third"""'))

    prompt, _ = engine.asked[-1]
    assert "first\nsecond\nthird" in prompt


def test_verbose_can_be_switched_in_the_middle(session, capsys):
    converse(session, typing("/verbose", "Hi"))

    assert "eval rate:" in capsys.readouterr().err


def test_timings_are_told_as_people_know_them():
    timings = Timings(
        cache_n=3, prompt_n=12, prompt_ms=500.0, prompt_per_second=24.0, predicted_n=100,
        predicted_ms=4000.0, predicted_per_second=24.75,
    )  # fmt: skip

    assert timing_lines(timings, 4.6).splitlines() == [
        "total duration:       4.6 s",
        "prompt eval count:    12 token(s), 3 more from cache",
        "prompt eval duration: 500 ms",
        "prompt eval rate:     24.0 tokens/s",
        "eval count:           100 token(s)",
        "eval duration:        4.0 s",
        "eval rate:            24.8 tokens/s",
    ]


def test_what_is_typed_is_there_the_next_time(session, tmp_path, capsys):
    history = History(tmp_path / "history")
    converse(session, typing("Hi", '"""two', 'lines"""', "/bye"), history)

    assert History(tmp_path / "history").lines() == ["Hi", '"""two', 'lines"""', "/bye"]
    assert session.said[-2] == Message("user", "two\nlines")


def test_what_may_be_typed_fits_a_narrow_screen():
    assert max(map(len, _HELP.splitlines())) < 80
