"""What clients say of thoughts, in whichever words."""

import pytest
from openai_bodies import chat, refused


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"reasoning_effort": "none"}, {"enable_thinking": False, "thinking": False}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ({"enable_thinking": True}, {"enable_thinking": True, "thinking": True}),
        ({"enable_thinking": True, "reasoning_effort": "none"},
         {"enable_thinking": True, "thinking": True}),
        ({"enable_thinking": True, "chat_template_kwargs": {"enable_thinking": False, "x": [1]}},
         {"enable_thinking": False, "thinking": True, "x": [1]}),
        ({"thinking": {"type": "disabled"}}, {"enable_thinking": False, "thinking": False}),
        ({"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
         {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}),
        ({"thinking": False}, {"enable_thinking": False, "thinking": False}),
        ({"thinking": {"type": "auto"}}, {}),
        ({"thinking": {"type": "disabled"}, "enable_thinking": True},
         {"enable_thinking": True, "thinking": True}),
        ({"reasoning": {"effort": "low", "exclude": True}}, {"reasoning_effort": "low"}),
        ({"reasoning": {"effort": "none"}}, {"enable_thinking": False, "thinking": False}),
        ({"reasoning": {"effort": "low"}, "reasoning_effort": "high"},
         {"reasoning_effort": "high"}),
        ({"reasoning": {"enabled": False}}, {"enable_thinking": False, "thinking": False}),
        ({"reasoning": {"enabled": False, "effort": "high"}}, {"reasoning_effort": "high"}),
        ({"reasoning": {"enabled": True, "effort": "high"}},
         {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}),
        ({"reasoning": {"enabled": True, "max_tokens": 7}},
         {"enable_thinking": True, "thinking": True}),
        ({"reasoning": {"enabled": True, "effort": "none"}},
         {"enable_thinking": False, "thinking": False}),
        ({"reasoning": {}}, {}),
    ],
)  # fmt: skip
def test_what_is_said_of_thoughts_becomes_the_templates_variables(fields, expected):
    assert chat(**fields).template_kwargs == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"reasoning_budget": 0}, 0),
        ({"reasoning_budget_tokens": 5}, 5),
        ({"thinking_budget_tokens": -1}, None),
        ({"reasoning_budget": 3, "thinking_budget_tokens": 9}, 3),
        ({"thinking_budget": 7}, 7),
        ({"reasoning": {"max_tokens": 7}}, 7),
        ({"reasoning": {"max_tokens": 7}, "reasoning_budget": 3}, 3),
        ({"thinking": {"type": "enabled", "budget_tokens": 7}}, 7),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, None),
        ({"thinking": True}, None),
    ],
)
def test_a_budget_of_thought_has_several_names(fields, expected):
    assert chat(**fields).reasoning_budget == expected


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"thinking": {"type": "often"}},
         "thinking.type: 'often' is none of adaptive, auto, disabled, enabled"),
        ({"reasoning": "high"}, "reasoning: expected `object | null`, got `str`"),
        ({"reasoning": {"max_tokens": -1}}, "reasoning.max_tokens: expected `int` >= 0"),
    ],
)  # fmt: skip
def test_words_that_nobody_has_for_it_are_refused_by_name(fields, words):
    assert str(refused(chat, **fields)) == words
