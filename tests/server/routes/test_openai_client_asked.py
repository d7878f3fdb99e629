"""The real openai package: what it asks for arrives at the engine."""

import pytest
from server.server_fakes import words

from edgellm.chat.messages import JSONSchema, Regex

HI = [{"role": "user", "content": "Hi"}]


def test_the_sampling_arrives_as_it_was_sent(client, engine):
    client.chat.completions.create(
        model="tiny",
        messages=HI,
        temperature=0,
        top_p=0.5,
        presence_penalty=1,
        frequency_penalty=-1,
        logit_bias={"5": -100, "6": 1.5},
        seed=42,
        max_completion_tokens=11,
        stop=["END", ""],
        user="somebody",
        store=False,
        metadata={"a": "b"},
        parallel_tool_calls=True,
        extra_body={
            "ttl": 60,
            "top_k": 3,
            "min_p": 0.25,
            "repeat_penalty": 1.25,
            "cache_prompt": False,
        },
    )
    params = engine.asked[0][1]

    assert params.sampling.temperature == 0.0
    assert params.sampling.top_p == 0.5
    assert params.sampling.top_k == 3
    assert params.sampling.min_p == 0.25
    assert params.sampling.repeat_penalty == 1.25
    assert params.sampling.presence_penalty == 1
    assert params.sampling.frequency_penalty == -1
    assert params.sampling.logit_bias == ((5, -100.0), (6, 1.5))
    assert params.sampling.seed == 42
    assert params.claim.keep_s == 60, "LM Studio's ttl"
    assert params.max_tokens == 11
    assert params.cache_prompt is False
    assert params.stop == ("END", "\nuser:")  # the second is the template's own


def test_stop_may_be_one_string(client, engine):
    client.chat.completions.create(model="tiny", messages=HI, stop="\n\n")
    assert engine.asked[0][1].stop[0] == "\n\n"


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def test_a_json_schema_arrives_at_the_engine_as_it_was_sent(client, engine):
    engine.scripts = [words('{"a":1}')]
    answer = client.chat.completions.create(
        model="tiny",
        messages=HI,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "x", "strict": True, "schema": SCHEMA},
        },
    )
    structure = engine.asked[0][1].structure
    assert isinstance(structure, JSONSchema)
    assert '"required":["a"]' in structure.schema.replace(" ", "")
    assert answer.choices[0].message.content == '{"a":1}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"response_format": {"type": "json_object"}}, JSONSchema('{"type":"object"}')),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object", "schema": {}}}, JSONSchema("{}")),
        ({"json_schema": {}}, JSONSchema("{}")),
        ({"json_schema": None}, None),
        ({"regex": "[0-9]+"}, Regex("[0-9]+")),
    ],
)
def test_the_other_ways_to_ask_for_structure(client, engine, body, expected):
    client.chat.completions.create(model="tiny", messages=HI, extra_body=body)
    assert engine.asked[0][1].structure == expected
