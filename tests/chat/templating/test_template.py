from dataclasses import replace
from datetime import datetime

import pytest
from chat.hearing import CLOCK

from edgellm.chat.messages import Message, ToolCall
from edgellm.chat.templating.template import ChatTemplate
from edgellm.errors import BadRequest

HELLO = (Message("system", "Be brief."), Message("user", "Hi"))


def render(source, messages=HELLO, **how):
    return ChatTemplate(source, "<s>", "</s>", **how).render(messages)


def test_a_template_sees_the_messages_and_the_special_tokens():
    source = (
        "{% for m in messages %}{{ m['role'] }}={{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}go{% endif %}"
    )
    assert render(source) == "system=Be brief.</s>user=Hi</s>go"


def test_the_generation_prompt_can_be_left_out():
    template = ChatTemplate("x{% if add_generation_prompt %}go{% endif %}")
    assert template.render(HELLO, add_generation_prompt=False) == "x"


def test_blocks_leave_no_blank_lines_and_no_indent():
    source = (
        "{% for m in messages %}\n    {% if true %}\n{{ m.content }}\n    {% endif %}\n{% endfor %}"
    )
    assert render(source) == "Be brief.\nHi\n"


def test_a_leading_bos_is_dropped_where_the_tokenizer_adds_one():
    assert render("{{ bos_token }}x") == "x"


def test_a_leading_bos_stays_where_the_tokenizer_adds_none():
    assert render("{{ bos_token }}x", adds_bos=False) == "<s>x"


def test_a_bos_inside_the_text_stays():
    assert render("x{{ bos_token }}") == "x<s>"


def test_a_name_is_there_only_for_a_message_that_has_one():
    source = "{% for m in messages %}{{ m.name is defined }}{% endfor %}"
    assert render(source, (Message("user", "a", name="Ann"), Message("user", "b"))) == "TrueFalse"


def test_developer_is_the_system_role_to_a_template_that_does_not_know_it():
    source = "{{ messages[0].role }}: {{ messages[0].content }}"
    assert render(source, (Message("developer", "x"),)) == "system: x"


def test_developer_stays_developer_for_a_template_that_knows_it():
    source = "{% if messages[0].role == 'developer' %}yes {% endif %}{{ messages[0].content }}"
    assert render(source, (Message("developer", "x"),)) == "yes x"


def test_tojson_writes_json_as_models_have_seen_it():
    assert render("{{ {'b': '<é>', 'a': 1} | tojson }}") == '{"b": "<é>", "a": 1}'
    assert render("{{ [1] | tojson(indent=2) }}") == "[\n  1\n]"


def test_loops_can_be_left_and_generation_marks_are_passed_over():
    source = (
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% break %}{% endfor %}"
    )
    assert render(source) == "Be brief."


def test_the_date_is_the_callers():
    template = ChatTemplate("{{ strftime_now('%d %b %Y') }}")
    assert template.render(HELLO, now=datetime(2026, 11, 21)) == "21 Nov 2026"


def test_without_a_date_a_template_can_see_that_there_is_none():
    assert render("{% if strftime_now is defined %}date{% else %}none{% endif %}") == "none"


def test_a_model_with_chatml_words_and_no_template_speaks_chatml():
    template = ChatTemplate(None, has_im_start=True)
    assert template.render(HELLO) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert template.stop == ("<|im_end|>",)


@pytest.mark.parametrize("source", [None, ""])
def test_a_model_without_any_template_reads_lines_of_role_and_text(source):
    template = ChatTemplate(source)
    assert template.render(HELLO) == "system: Be brief.\nuser: Hi\nassistant:"
    assert template.stop == ("\nuser:",)


def test_a_models_own_template_needs_no_stop_strings():
    assert ChatTemplate("x").stop == ()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% if %}", "Expected an expression"),
        ("{{ messages[9].content.x }}", "has no element 9"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 'a' + 1 }}", "str"),
        ("{% include 'secrets' %}", "no loader"),
    ],
)
def test_a_template_that_fails_is_a_bad_request_in_its_own_words(source, words):
    with pytest.raises(BadRequest, match="chat template") as raised:
        render(source)
    assert words in str(raised.value)
    assert raised.value.param == "messages"


CALL = Message("assistant", "", tool_calls=(ToolCall("c1", "clock", '{"at": "noon"}'),))
RESULT = Message("tool", "12:00", tool_call_id="c1")
ASKED = (Message("user", "x"), CALL, RESULT)
SHOWS = "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}"
TALKS = "{% for m in messages %}{{ m.role }}:{{ m.content }} {% endfor %}"
CALLS = "{% for m in messages if m.tool_calls %}<tool_call>{{ X }}{% endfor %}"


def calls_written(expression):
    return SHOWS + TALKS + CALLS.replace("X", f"m.tool_calls[0].function.{expression}")


@pytest.mark.parametrize(
    ("source", "written"),
    [
        (calls_written("name ~ m.tool_calls[0].function.arguments|tojson"), 'clock{"at": "noon"}'),
        (calls_written("name + m.tool_calls[0].function.arguments"), 'clock{"at": "noon"}'),
        (calls_written("name ~ m.tool_calls[0].function.arguments"), 'clock{"at": "noon"}'),
        (calls_written("name ~ m.tool_calls[0].function.arguments.at"), "clocknoon"),
    ],
    ids=["as JSON", "added as text", "joined as text", "as an object"],
)  # fmt: skip
def test_past_arguments_are_given_as_the_template_takes_them(source, written):
    assert render(source, ASKED).endswith(f"<tool_call>{written}")


def test_arguments_that_are_no_json_are_given_as_they_are():
    cut = replace(CALL, tool_calls=(ToolCall("c1", "clock", '{"at": "no'),))
    source = calls_written("name ~ m.tool_calls[0].function.arguments")
    assert render(source, (Message("user", "x"), cut)).endswith('<tool_call>clock{"at": "no')


def test_a_template_that_shows_no_calls_has_them_as_text():
    text = render(SHOWS + TALKS + "{# <tool_call> #}", ASKED)
    assert '<tool_call>\n{"name": "clock", "arguments": {"at": "noon"}}\n</tool_call>' in text
    assert "<tool_response>\n12:00" in text


QUIET = "{% for m in messages if m.role != 'tool' %}{{ m.role }}:{{ m.content }} {% endfor %}"
CALLED = CALLS.replace("X", "m.tool_calls[0].function.name")
RESPONSES = (
    "{% for m in messages %}{% for r in m.tool_responses or [] %}{{ r }}{% endfor %}{% endfor %}"
)


def test_a_template_that_shows_no_results_has_them_as_text():
    text = render(SHOWS + QUIET + CALLED, ASKED)
    assert "<tool_response>\n12:00" in text
    assert '<tool_call>\n{"name": "clock"' in text


def test_results_go_into_the_message_that_called_where_the_template_looks_for_them_there():
    answered = (Message("assistant", "Noon."), Message("user", "Thanks"))
    talk = (*ASKED[:2], replace(RESULT, name="clock"), *answered)
    text = render(SHOWS + QUIET + CALLED + RESPONSES, talk)
    assert text.startswith("user:x assistant:Noon. user:Thanks ")
    assert text.endswith("<tool_call>clock{'name': 'clock', 'response': '12:00'}")


def test_a_template_that_writes_any_message_has_results_where_it_looks_for_them_too():
    """Gemma 4's first one: a turn of a tool is nothing that its models know."""
    text = render(SHOWS + TALKS + CALLED + RESPONSES, (*ASKED[:2], replace(RESULT, name="clock")))
    assert "tool:" not in text
    assert text.endswith("{'name': 'clock', 'response': '12:00'}")


def test_a_template_that_writes_results_the_same_either_way_gets_them_as_messages():
    both = (
        "{% for m in messages %}{% for r in m.tool_responses or [] %}{{ r.response }}{% endfor %}"
        "{% if m.role == 'tool' %}{{ m.content }}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    text = render(SHOWS + both + CALLED, (*ASKED[:2], replace(RESULT, text='{"t": 1}')))
    assert '{"t": 1}' in text


@pytest.mark.parametrize("dump", ["{{ m | tojson }}", "{{ m.items() | list }}"])
def test_a_template_that_writes_messages_out_whole_keeps_the_turns_of_tools(dump):
    text = render(SHOWS + "{% for m in messages %}" + dump + "\n{% endfor %}<tool_call>", ASKED)
    _, call, result, _ = text.splitlines()
    assert "clock" in call
    assert "12:00" in result
    assert "tool_responses" not in text


def test_a_template_that_shows_no_tools_gets_ours():
    template = ChatTemplate(TALKS + CALLS)
    assert template.format.name == "generic"
    assert '"name": "clock"' in template.render(HELLO, tools=(CLOCK,))


def test_a_template_for_tools_is_used_for_them_alone():
    template = ChatTemplate("plain", tool_source=SHOWS + "<tool_call>")
    assert template.render(HELLO) == "plain"
    assert template.render(HELLO, tools=(CLOCK,)).startswith("[clock]")


def test_the_clients_variables_are_the_templates_but_ours_win():
    source = "{{ enable_thinking }} {% for m in messages %}{{ m.content }}{% endfor %}"
    text = ChatTemplate(source).render(HELLO, variables={"enable_thinking": False, "messages": []})
    assert text == "False Be brief.Hi"


def test_where_there_is_no_system_role_the_users_message_begins_with_its_text():
    source = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TALKS
    )
    assert render(source) == "user:Be brief.\n\nHi "


def test_thoughts_of_the_past_are_there_for_a_template_that_wants_them():
    source = (
        "{{ messages[0].reasoning_content }}{{ messages[0].thinking }}{{ messages[0].content }}"
    )
    assert render(source, (Message("assistant", "4", reasoning="hm"),)) == "hmhm4"


ANY_ROLE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
FIRST_ONLY = (
    "{% for m in messages %}{% if m.role == 'system' %}{% if loop.first %}[system]{{ m.content }}"
    "{% endif %}{% else %}[{{ m.role }}]{{ m.content }}{% endif %}{% endfor %}"
)
STRICT = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('not there') }}{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}"
)
SYSTEMS = (*HELLO, Message("assistant", "Yes?"), Message("system", "Be kind."), HELLO[1])


@pytest.mark.parametrize("source", [FIRST_ONLY, STRICT], ids=["leaves it out", "refuses it"])
def test_a_second_system_message_is_heard_where_the_template_knows_one(source):
    two = (HELLO[0], Message("developer", "Be kind."), HELLO[1])
    assert render(source, two) == "[system]Be brief.\n\nBe kind.[user]Hi"
    later = "[system]Be brief.[user]Hi[assistant]Yes?[user]Be kind.\n\nHi"
    assert render(source, SYSTEMS) == later


def test_system_messages_stay_where_the_template_writes_them_all():
    later = "[system]Be brief.[user]Hi[assistant]Yes?[system]Be kind.[user]Hi"
    assert render(ANY_ROLE, SYSTEMS) == later


@pytest.mark.parametrize(
    "source",
    [
        "{% set developer_words = '' %}" + ANY_ROLE,
        "{% for m in messages if m.role != 'developer' %}[{{ m.role }}]{{ m.content }}{% endfor %}",
        "{% for m in messages %}{% if m.role == 'developer' %}{{ raise_exception('who?') }}"
        "{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}",
    ],
    ids=["another word", "leaves it out", "refuses it"],
)
def test_a_template_that_names_developers_and_does_not_hear_them_gets_the_system(source):
    assert render(source, (Message("developer", "x"), HELLO[1])) == "[system]x[user]Hi"


def test_arguments_that_were_cut_off_are_an_object_for_a_template_that_wants_one():
    source = calls_written(
        "name }}{% for k, v in m.tool_calls[0].function.arguments.items() %}{{ k ~ '=' ~ v }}"
        "{% endfor %}{{ ''"
    )
    for written, left in (('{"at": "no', "clockat=no"), ("no JSON", "clock"), ("[1]", "clock")):
        cut = replace(CALL, tool_calls=(ToolCall("c1", "clock", written),))
        assert render(source, (Message("user", "x"), cut)).endswith(f"<tool_call>{left}")


NEEDS_TOOLS = (
    "{% for t in tools %}[{{ t.function.name }}]{% endfor %}{% for m in messages %}{{ m.role }}:"
    "{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}{% endfor %} "
    "{% endfor %}"
)


def test_a_template_for_tools_is_given_an_empty_list_where_there_are_none():
    template = ChatTemplate(TALKS, tool_source=NEEDS_TOOLS)
    assert template.format.name == "hermes"
    assert template.render(ASKED) == "user:x assistant:<tool_call>clock tool:12:00 "
    assert template.render(ASKED, tools=(CLOCK,)).startswith("[clock]user:x assistant:<tool_call>")
    assert render(NEEDS_TOOLS) == "system:Be brief. user:Hi "


def test_a_template_that_knows_no_tools_as_well_as_one_is_given_none():
    assert render("{{ 'none' if tools is none else tools }}") == "none"


def test_a_plain_chat_is_rendered_as_its_own_template_wants_it():
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    template = ChatTemplate(ANY_ROLE, tool_source=refuses + NEEDS_TOOLS)
    assert template.render(HELLO) == "[system]Be brief.[user]Hi"
    text = template.render(HELLO, tools=(CLOCK,))
    assert text == "[clock]user:Be brief.\n\nHi "


def test_where_tools_are_told_in_our_words_the_template_for_other_words_is_not_used():
    template = ChatTemplate(ANY_ROLE, tool_source=NEEDS_TOOLS.replace("<tool_call>", "Action: "))
    assert template.format.name == "generic"
    text = template.render(ASKED, tools=(CLOCK,))
    assert text.startswith("[system]# Tools")
    assert '[assistant]<tool_call>\n{"name": "clock"' in text


QUEUE = (
    "{% set q = namespace(ids=[]) %}{% for m in messages %}{% for c in m.tool_calls or [] %}"
    "{% set _ = q.ids.append(c.id) %}<|tool_calls_section_begin|><|tool_call_begin|>{{ c.id }}"
    "{% endfor %}{% if m.role == 'tool' %} {{ q.ids.pop(0) }}={{ m.content }}{% endif %}"
    "{% endfor %}"
)


def test_a_template_may_keep_a_queue_of_its_own():
    """Kimi K2's does, for its results' ids."""
    text = render(SHOWS + QUEUE, ASKED)
    begin = "<|tool_calls_section_begin|><|tool_call_begin|>"
    assert text == f"{begin}functions.clock:0 functions.clock:0=12:00"


def test_a_template_that_refuses_the_trial_of_calls_keeps_its_own_words():
    picky = "{% if c.id == 'needle000' %}{{ raise_exception('an id of mine?') }}{% endif %}"
    shown = "{% for c in m.tool_calls %}" + picky + "{{ c.id }}{% endfor %}"
    source = SHOWS + TALKS + CALLS.replace("{{ X }}", shown)
    assert render(source, ASKED).endswith("<tool_call>c1")


@pytest.mark.parametrize(
    ("source", "switches"),
    [
        ("{% if enable_thinking is false %}<think></think>{% endif %}", True),
        ("{% if thinking is defined and thinking %}<think>{% else %}</think>{% endif %}", True),
        ("<think>", False),  # always
        ("{{ messages[0].thinking }}", False),  # a word of the past's
        ("{% if not enable_thinking %}{{ raise_exception('it thinks') }}{% endif %}", False),
        (None, False),
    ],
)
def test_whether_thoughts_can_be_switched_is_found_by_trying_both_ways(source, switches):
    assert ChatTemplate(source).switches_thoughts is switches
