"""Phi-4-mini: its template has one place for tools, inside of what the system says."""

from chat.hearing import CLOCK

from edgellm.chat.messages import Message, ToolCall
from edgellm.chat.templating.template import ChatTemplate

OFFICIAL = (  # microsoft/Phi-4-mini-instruct (MIT)
    "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and "
    "message['tools'] is not none %}{{ '<|' + message['role'] + '|>' + message['content'] + "
    "'<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}{{ '<|' + "
    "message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)
SHOWN = (
    '<|tool|>[{"name": "clock", "description": "Tells the time.", '
    '"parameters": {"type": "object", "properties": {}}}]<|/tool|>'
)
CALL = '<|tool_call|>[{"name": "clock", "arguments": {}}]<|/tool_call|>'


def test_tools_are_told_between_its_own_marks():
    prompt = ChatTemplate(OFFICIAL).render([Message("user", "Hi")], tools=(CLOCK,))
    system, _, rest = prompt.partition("<|end|>")
    assert system.startswith("<|system|>To call functions")
    assert system.endswith(SHOWN)
    assert rest == "<|user|>Hi<|end|><|assistant|>"


def test_past_calls_are_in_its_own_words():
    talk = [
        Message("system", "Be brief."),
        Message("user", "Hi"),
        Message("assistant", "", tool_calls=(ToolCall("1", "clock", "{}"),)),
        Message("tool", "noon", name="clock", tool_call_id="1"),
    ]
    prompt = ChatTemplate(OFFICIAL).render(talk, tools=(CLOCK,))
    assert prompt.startswith("<|system|>Be brief.\n\nTo call functions")
    assert f"<|user|>Hi<|end|><|assistant|>{CALL}<|end|>" in prompt
    assert "<|user|><tool_response>\nnoon\n</tool_response><|end|><|assistant|>" in prompt
