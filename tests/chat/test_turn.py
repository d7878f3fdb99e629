from dataclasses import replace

import pytest
from chat.hearing import CLOCK, WEATHER, said

from edgellm.chat.events import Finished, TextDelta
from edgellm.chat.messages import (
    GBNF,
    ChatRequest,
    Choices,
    GenerateParams,
    JSONSchema,
    Lark,
    Message,
    Stages,
    Thinking,
    ToolCall,
    ToolChoice,
    Watch,
)
from edgellm.chat.templating.template import ChatTemplate
from edgellm.chat.turn import turn
from edgellm.errors import BadRequest

TALK = "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}"
TOOLS = "{% for t in tools or [] %}<tool_call>{{ t.function.name }};{% endfor %}"
CALLS = (
    "{% for m in messages if m.tool_calls %}{% for c in m.tool_calls %}"
    "{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}{% endfor %}"
)
PLAIN = ChatTemplate(TALK)
HERMES = ChatTemplate(TOOLS + TALK + CALLS)
THINKER = ChatTemplate(HERMES.source + "{# </think> #}")
OPENER = ChatTemplate(HERMES.source + "{# </think> #}{{ '<think>\\n' }}")
CLOSER = ChatTemplate(HERMES.source + "<think></think>")
HARMONY = ChatTemplate(TOOLS + TALK + CALLS + "{# <|channel|>analysis<|message|> <|end|> #}")

ASKED = ChatRequest("m", (Message("user", "Hi"),))
WITH_TOOLS = replace(ASKED, tools=(WEATHER, CLOCK))
REQUIRED = replace(WITH_TOOLS, tool_choice=ToolChoice("required"))


def wanting(rule, asked=ASKED):
    return replace(asked, params=GenerateParams(structure=rule))


def kinds(structure):
    stages = structure.stages if isinstance(structure, Stages) else (structure,)
    return [type(stage) for stage in stages]


def test_a_plain_chat_needs_no_ear_and_no_structure():
    ours = turn(PLAIN, ASKED)
    assert (ours.prompt, ours.listen) == ("user=Hi;", None)
    assert (ours.params.structure, ours.params.markers) == (None, ())


def test_a_templates_own_stops_come_after_the_clients():
    asked = replace(ASKED, params=GenerateParams(stop=("x",)))
    assert turn(ChatTemplate(None), asked).params.stop == ("x", "\nuser:")


def test_tools_are_shown_and_heard_and_watched_for():
    ours = turn(HERMES, WITH_TOOLS)
    assert ours.prompt.startswith("<tool_call>weather;<tool_call>clock;")
    assert kinds(ours.params.structure) == [Watch, Lark]
    assert ours.params.structure.stages[0] == Watch(("<tool_call>",))
    assert {"<tool_call>", "</tool_call>"} <= {*ours.params.markers}
    ear = ours.listen(lambda: "id1")
    text = '<tool_call>{"name": "clock", "arguments": {}}</tool_call>'
    heard = [*ear.hear(TextDelta(text)), *ear.hear(Finished("stop", 1, 0, 1))]
    assert said(heard)[2] == [("id1", "clock", "{}")]


def test_required_binds_from_the_first_token():
    structure = turn(HERMES, REQUIRED).params.structure
    assert kinds(structure) == [Lark]
    assert '"weather' in structure.grammar or "weather" in "".join(structure.markers)


def test_a_named_tool_is_the_only_one():
    named = replace(WITH_TOOLS, tool_choice=ToolChoice("required", ("clock",)))
    structure = turn(HERMES, named).params.structure
    assert "clock" in structure.grammar
    assert "weather" not in structure.grammar


def test_of_the_tools_that_are_shown_only_the_allowed_ones_are_heard_and_may_be_called():
    allowed = replace(WITH_TOOLS, tool_choice=ToolChoice("auto", ("clock",)))
    ours = turn(HERMES, allowed)
    assert ours.prompt == turn(HERMES, WITH_TOOLS).prompt
    assert kinds(ours.params.structure) == [Watch, Lark]
    assert "weather" not in ours.params.structure.stages[1].grammar
    text = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>'
    assert said(ours.listen(lambda: "id1").hear(TextDelta(text)))[2] == []


def test_none_shows_the_tools_and_hears_none():
    ours = turn(HERMES, replace(WITH_TOOLS, tool_choice=ToolChoice("none")))
    assert "weather" in ours.prompt
    assert (ours.params.structure, ours.listen) == (None, None)


def test_one_call_at_a_time_ends_the_grammar_after_it():
    several = turn(HERMES, REQUIRED).params.structure.grammar
    single = turn(HERMES, replace(REQUIRED, parallel_tool_calls=False)).params.structure.grammar
    assert "{0,15}" in several
    assert "{0,15}" not in single


@pytest.mark.parametrize("template", [THINKER, OPENER], ids=["thinker", "opener"])
def test_thoughts_come_before_any_structure(template):
    opened = template is OPENER
    first = Thinking("<think>", "</think>", opened)
    assert turn(template, REQUIRED).params.structure.stages[0] == first
    assert turn(template, wanting(JSONSchema("{}"))).params.structure.stages[0] == first
    assert kinds(turn(template, WITH_TOOLS).params.structure) == [Thinking, Watch, Lark]
    assert turn(template, ASKED).params.structure is None


def test_a_prompt_that_ends_thoughts_leaves_none_to_wait_for():
    assert turn(CLOSER, wanting(JSONSchema("{}"))).params.structure == JSONSchema("{}")


def test_a_budget_needs_thoughts():
    thrifty = replace(ASKED, reasoning_budget=5)
    expected = Stages((Thinking("<think>", "</think>", True, 5),))
    assert turn(OPENER, thrifty).params.structure == expected
    assert turn(HERMES, thrifty).params.structure is None


def test_thoughts_are_told_apart_unless_the_client_wants_them_in_the_text():
    ear = turn(OPENER, ASKED).listen(lambda: "")
    events = [*ear.hear(TextDelta("hm</think>Hi")), *ear.hear(Finished("stop", 1, 0, 1))]
    assert said(events)[:2] == ("Hi", "hm")
    assert turn(OPENER, replace(ASKED, reasoning_format="none")).listen is None


def test_tokens_of_thoughts_are_counted_however_they_come():
    """A token a character: those of the marks are neither thoughts nor text."""
    ear = turn(OPENER, ASKED).listen(lambda: "")
    pieces = [TextDelta(one) for one in "hmm.</think>Hi"]
    for piece in pieces:
        ear.hear(piece)
    *_, ended = ear.hear(Finished("stop", 1, 0, len(pieces)))
    assert ended.n_reasoning == len("hmm.")

    whole = turn(OPENER, ASKED).listen(lambda: "")
    whole.hear(TextDelta("hmm.</think>Hi", 3))
    *_, ended = whole.hear(Finished("stop", 1, 0, 3))
    assert ended.n_reasoning == 3, "one piece of all three, and it begins in the thoughts"


def test_harmony_is_always_heard_and_its_text_has_a_preface():
    ours = turn(HARMONY, wanting(JSONSchema("{}")))
    assert ours.listen is not None
    assert kinds(ours.params.structure) == [Thinking, Lark, JSONSchema]


def test_harmonys_text_has_its_preface_beside_tools_too():
    ours = turn(HARMONY, wanting(JSONSchema('{"type": "object"}'), WITH_TOOLS))
    assert kinds(ours.params.structure) == [Thinking, Lark]
    _, bound = ours.params.structure.stages
    assert bound.grammar.count("%json") == 3
    assert "<|channel|>final" in bound.markers


def test_a_schema_beside_tools_binds_the_text_or_a_call():
    schema = JSONSchema('{"type": "object"}')
    ours = turn(HERMES, wanting(schema, WITH_TOOLS))
    assert kinds(ours.params.structure) == [Lark]
    assert ours.structure_field == "response_format"
    assert ours.params.structure.grammar.count("%json") == 3


@pytest.mark.parametrize(
    ("asked", "param", "words"),
    [
        (wanting(JSONSchema("{}"), REQUIRED), "tool_choice", "no room"),
        (wanting(Choices(("a",)), WITH_TOOLS), "tools", "only a JSON schema"),
        (wanting(GBNF('root ::= "a"'), WITH_TOOLS), "tools", "only a JSON schema"),
        (
            replace(WITH_TOOLS, tool_choice=ToolChoice("required", ("x",))),
            "tool_choice",
            "not among the tools (weather, clock)",
        ),
    ],
)
def test_wishes_that_exclude_each_other_are_refused_by_field(asked, param, words):
    with pytest.raises(BadRequest) as raised:
        turn(HERMES, asked)
    assert raised.value.param == param
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (WITH_TOOLS, "tools"),
        (REQUIRED, "tools"),
        (replace(wanting(JSONSchema("{}")), structure_field="json_schema"), "json_schema"),
    ],
)
def test_errors_of_a_structure_blame_what_asked_for_it(asked, field):
    assert turn(HERMES, asked).structure_field == field


def test_a_result_is_given_its_tools_name():
    source = "{% for m in messages if m.role == 'tool' %}{{ m.name }}{% endfor %}" + HERMES.source
    call = ToolCall("c1", "clock", "{}")
    messages = (
        Message("user", "x"),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "noon", tool_call_id="c1"),
    )
    asked = replace(WITH_TOOLS, messages=messages)
    assert turn(ChatTemplate(source), asked).prompt.startswith("clock")


def test_results_stay_with_their_calls_where_a_later_message_uses_the_ids_again():
    def round(*said):
        calls = tuple(
            ToolCall(f"c{n}", "clock", f'{{"at": "{one}"}}') for n, one in enumerate(said)
        )
        results = (Message("tool", f"R{one}", tool_call_id=f"c{n}") for n, one in enumerate(said))
        return (Message("user", "x"), Message("assistant", "", tool_calls=calls), *results)

    told = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments.at }}"
        "{% endfor %}{% if m.role == 'tool' %}={{ m.content }} {% endif %}{% endfor %}"
    )
    shown = TOOLS.replace("<tool_call>", "") + CALLS
    template = ChatTemplate(shown + "{# <|python_tag|> #}" + told)
    asked = replace(WITH_TOOLS, messages=round("a", "b") + round("c", "d"))
    assert template.format.name == "llama-3"
    assert turn(template, asked).prompt.endswith("a=Ra b=Rb c=Rc d=Rd ")


LLAMA = ChatTemplate(HERMES.source.replace("<tool_call>", "") + "{# <|python_tag|> #}")


def test_a_json_object_that_nothing_marks_is_bound_from_a_tools_name_on():
    watch = turn(LLAMA, WITH_TOOLS).params.structure.stages[0]
    assert watch == Watch(("<|python_tag|>",), ('{"name": "weather"', '{"name": "clock"'))
    allowed = replace(WITH_TOOLS, tool_choice=ToolChoice("auto", ("clock",)))
    assert turn(LLAMA, allowed).params.structure.stages[0].at_start == ('{"name": "clock"',)
