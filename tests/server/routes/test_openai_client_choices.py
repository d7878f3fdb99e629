"""The real openai package: several answers, their odds, and completions."""

import math

import openai
import pytest
from server.server_fakes import words

from edgellm.chat.events import (
    Failed,
    Finished,
    TextDelta,
    TokenLogprob,
)

HI = [{"role": "user", "content": "Hi"}]


def test_n_answers_have_indices_and_seeds_of_their_own(client, engine):
    engine.scripts = [words("one"), words("two two"), words("three")]

    answer = client.chat.completions.create(model="tiny", messages=HI, n=3, seed=7)

    assert sorted(params.sampling.seed for _, params in engine.asked) == [7, 8, 9]
    assert sorted(c.message.content for c in answer.choices) == ["one", "three", "two two"]
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert answer.usage.prompt_tokens == 7  # it is one prompt
    assert answer.usage.completion_tokens == 4


def test_n_answers_stream_side_by_side(client, engine):
    engine.scripts = [words("a b c"), words("d e")]
    with client.chat.completions.create(
        model="tiny", messages=HI, n=2, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)

    text = {0: "", 1: ""}
    for chunk in chunks[:-1]:
        text[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert sorted(text.values()) == ["a b c", "d e"]
    reasons = [c.choices[0].finish_reason for c in chunks[:-1]]
    assert reasons.count("stop") == 2
    assert chunks[-1].usage.completion_tokens == 5


def test_when_one_of_n_answers_fails_all_are_ended(client, engine):
    engine.scripts = [words("a b c"), [TextDelta("d"), Failed("out of memory", 507)]]
    with pytest.raises(openai.InternalServerError, match="out of memory"):
        client.chat.completions.create(model="tiny", messages=HI, n=2)


def shown():
    return TokenLogprob(5, b"Hi", -0.25, ((5, b"Hi", -0.25), (9, b"\xf0\x9f", -math.inf)))


def test_logprobs_come_with_their_rivals(client, engine):
    engine.scripts = [[TextDelta("Hi", 1, (shown(),)), Finished("length", 1, 0, 1)]]

    answer = client.chat.completions.create(
        model="tiny", messages=HI, logprobs=True, top_logprobs=2
    )

    assert engine.asked[0][1].logprobs == 2
    [token] = answer.choices[0].logprobs.content
    assert (token.token, token.logprob, token.bytes) == ("Hi", -0.25, [72, 105])
    assert token.top_logprobs[1].bytes == [0xF0, 0x9F]
    assert token.top_logprobs[1].logprob == -9999.0
    assert answer.choices[0].finish_reason == "length"


def test_logprobs_stream_with_their_text(client, engine):
    engine.scripts = [[TextDelta("Hi", 1, (shown(),)), Finished("stop", 1, 0, 1)]]
    with client.chat.completions.create(
        model="tiny", messages=HI, logprobs=True, stream=True
    ) as stream:
        chunks = list(stream)
    assert engine.asked[0][1].logprobs == 0
    assert [c.choices[0].logprobs is not None for c in chunks] == [False, True, False]


def test_completions_show_logprobs_in_their_older_shape(client, engine):
    half = TokenLogprob(6, b"\xf0\x9f", -1.0)
    engine.scripts = [[TextDelta("Hi", 2, (shown(), half)), Finished("stop", 1, 0, 2)]]

    [choice] = client.completions.create(model="tiny", prompt="x", logprobs=2).choices

    assert choice.text == "Hi"
    assert choice.logprobs.tokens == ["Hi", "bytes:\\xf0\\x9f"]
    assert choice.logprobs.token_logprobs == [-0.25, -1.0]
    assert choice.logprobs.top_logprobs[0] == {"Hi": -0.25, "bytes:\\xf0\\x9f": -9999.0}
    assert choice.logprobs.text_offset == [0, 2]


def test_a_completion_takes_every_shape_of_prompt(client, engine):
    for prompt, n_choices in (("a", 1), (["a", "b"], 2), ([1, 2], 1), ([[1], [2, 3]], 2)):
        engine.scripts = [words("x")]
        answer = client.completions.create(model="tiny", prompt=prompt)
        assert [choice.index for choice in answer.choices] == list(range(n_choices))
        assert answer.usage.prompt_tokens == 7 * n_choices
    assert [prompt for prompt, _ in engine.asked] == ["a", "a", "b", (1, 2), (1,), (2, 3)]


def test_a_completion_has_n_answers_to_each_of_its_prompts(client, engine):
    engine.scripts = [words("x")]
    answer = client.completions.create(model="tiny", prompt=["a", "b"], n=2, echo=True)
    assert [choice.text for choice in answer.choices] == ["ax", "ax", "bx", "bx"]
    assert answer.usage.prompt_tokens == 14


def test_a_completion_streams(lenient, engine):
    stream = lenient.completions.create(
        model="tiny", prompt="Once", echo=True, stream=True, stream_options={"include_usage": True}
    )
    with stream:
        chunks = list(stream)
    assert "".join(c.choices[0].text for c in chunks[:-1]) == "OnceHello there"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.total_tokens == 9
    assert engine.asked[0][1].stop == ()  # the template's stop strings are the chat's
