"""Answers taken apart between the engine and the dialect."""

import asyncio
from contextlib import aclosing

import pytest
from chat.hearing import BY_NAME, CLOCK, said
from server.server_fakes import HANG, FakeEngine, plan, served

from edgellm.chat.answer import Listener
from edgellm.chat.events import Finished, TextDelta, TokenLogprob
from edgellm.chat.messages import GenerateParams
from edgellm.chat.thoughts import style_of, thoughts_of
from edgellm.chat.tools.calls import Calls
from edgellm.server.answers import Asked, Counter, answer
from edgellm.server.hearing import heard
from edgellm.server.watch.metrics import Metrics

CALL = '<tool_call>{"name": "clock", "arguments": {}}</tool_call>'


def listen(new_id):
    thoughts = thoughts_of(style_of("</think>"), opened=False, apart=True)
    return Listener(BY_NAME["hermes"], Calls((CLOCK,), new_id), thoughts)


def events(*scripts, n=1):
    engine = FakeEngine(plan(), list(scripts))

    async def collect():
        asked = Asked(("x",), GenerateParams(n=n), "messages")
        answers = answer(served(engine=engine), asked, Counter(Metrics()))
        async with aclosing(heard(answers, listen)) as told:
            return [one async for one in told]

    return asyncio.run(collect()), engine


def ended(reason="stop"):
    return Finished(reason, 1, 0, 1)


def test_each_answer_has_its_own_ear_and_every_call_its_own_id():
    script = [TextDelta(CALL[:9]), TextDelta(CALL[9:]), ended()]
    told, _ = events(script, n=2)
    calls = [said([event for index, event in told if index == i])[2] for i in range(2)]
    assert [name for ((_, name, _),) in calls] == ["clock", "clock"]
    ids = {id for ((id, _, _),) in calls}
    assert len(ids) == 2
    assert all(id.startswith("call_") for id in ids)


def test_tokens_are_counted_once_and_probabilities_stay_with_the_text():
    shown = [TokenLogprob(i, b"x", -0.5) for i in range(4)]
    script = [
        TextDelta("<think>", 1, (shown[0],)),
        TextDelta("hm</think>", 2, (shown[1],)),
        TextDelta("Hi", 1, (shown[2],)),
        TextDelta(" you", 1, (shown[3],)),
        ended(),
    ]
    told = [event for _, event in events(script)[0]]
    texts = [event for event in told if isinstance(event, TextDelta)]
    assert [(text.text, text.n_tokens) for text in texts] == [("Hi", 1), (" you", 1)]
    assert [text.logprobs for text in texts] == [(shown[2],), (shown[3],)]


def test_marks_around_the_text_give_it_no_probabilities():
    pieces = ["<think>", "hm", "</think>", "\n\n", "Hi", " you", "<tool_call>", CALL[11:]]
    script = [TextDelta(piece, 1, (shown_as(piece),)) for piece in pieces]
    told = [event for _, event in events([*script, ended()])[0] if isinstance(event, TextDelta)]
    assert [(text.text, text.n_tokens) for text in told] == [("Hi", 1), (" you", 1)]
    assert [text.logprobs for text in told] == [(shown_as("Hi"),), (shown_as(" you"),)]


def test_of_text_that_comes_after_a_while_all_tokens_are_its_own():
    pieces = ["Hi", " <", "tool", "box", ">", "!"]  # it might have been a call
    script = [TextDelta(piece, 1, (shown_as(piece),)) for piece in pieces]
    told = [event for _, event in events([*script, ended()])[0] if isinstance(event, TextDelta)]
    assert "".join(text.text for text in told) == "".join(pieces)
    shown = [logprob.piece.decode() for text in told for logprob in text.logprobs]
    assert shown == pieces
    assert sum(text.n_tokens for text in told) == len(pieces)


def test_what_parts_two_texts_has_no_tokens():
    pieces = ["<|channel|>", "commentary", "<|message|>", "One", "<|end|>", "<|start|>"]
    pieces += ["assistant", "<|channel|>", "final", "<|message|>", "Two"]
    told = texts_of("harmony", [(piece, piece.encode()) for piece in pieces])
    assert [(text.text, text.n_tokens) for text in told] == [("One", 1), ("\n\n", 0), ("Two", 1)]
    assert [text.logprobs for text in told] == [(shown_as("One"),), (), (shown_as("Two"),)]

    pieces[-2:] = ["<|message|>Two"]  # what comes at once is one event, with what is in it
    told = texts_of("harmony", [(piece, piece.encode()) for piece in pieces])
    assert [(text.text, text.n_tokens) for text in told] == [("One", 1), ("\n\nTwo", 1)]


@pytest.mark.parametrize("format", ["hermes", "harmony"])
def test_a_token_that_is_half_a_character_is_the_texts_wherever_it_stands(format):
    pieces = [("", b"\xc3"), ("\u00e9", b"\xa9"), ("a", b"a"), ("", b"\xc3"), ("\u00e9", b"\xa9")]
    pieces += [("", b"\xe2"), ("", b"\x82")]  # and the answer was cut off
    told = texts_of(format, pieces)
    assert [one.piece for text in told for one in text.logprobs] == [piece for _, piece in pieces]
    assert sum(text.n_tokens for text in told) == len(pieces)
    assert "".join(text.text for text in told) == "\u00e9a\u00e9"


def test_half_a_character_of_what_is_no_text_is_not_shown():
    assert texts_of("hermes", [("<think>", b"t"), ("hm", b"hm"), ("", b"\xc3")]) == []
    (text,) = texts_of("hermes", [("Hi", b"Hi"), (CALL, b"call"), ("", b"\xc3")])
    assert text.logprobs == (shown_as("Hi"),)


def texts_of(format, pieces):
    """What is told as text of pieces with the bytes of their tokens, one for each."""
    style = "<|channel|>" if format == "harmony" else "</think>"
    thoughts = thoughts_of(style_of(style), opened=False, apart=True)
    ear = Listener(BY_NAME[format], Calls((CLOCK,), lambda: "id"), thoughts)
    said = [TextDelta(text, 1, (TokenLogprob(0, piece, -0.5),)) for text, piece in pieces]
    events = [told for one in [*said, ended()] for told in ear.hear(one)]
    return [event for event in events if isinstance(event, TextDelta)]


def shown_as(piece):
    return TokenLogprob(0, piece.encode(), -0.5)


def test_closing_it_cancels_the_request():
    engine = FakeEngine(plan(), [[TextDelta("Hel"), HANG]])

    async def leave():
        answers = answer(
            served(engine=engine), Asked(("x",), GenerateParams(), "messages"), Counter(Metrics())
        )
        async with aclosing(heard(answers, listen)) as told:
            async for _ in told:
                break

    asyncio.run(leave())
    assert (engine.n_cancelled, engine.n_open) == (1, 0)
