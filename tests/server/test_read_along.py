"""Who streams reads each word as it comes; who does not waits for the last one."""

import json

import pytest

from edgellm.server.anthropic.requests import message_request
from edgellm.server.ollama.requests import read_chat
from edgellm.server.openai.requests import chat_request, completion_request
from edgellm.server.responses.requests import response_request
from edgellm.server.responses.store import Store

_SAID = {"messages": [{"role": "user", "content": "hi"}]}
_DIALECTS = {
    "chat": (lambda data: chat_request(data, "<>").params, _SAID, False),
    "completions": (lambda data: completion_request(data).params, {"prompt": "hi"}, False),
    "responses": (
        lambda data: response_request(data, "<>", Store()).chat.params, {"input": "hi"}, False
    ),
    "anthropic": (
        lambda data: message_request(data, "<>").chat.params, {**_SAID, "max_tokens": 9}, False
    ),
    "ollama": (lambda data: read_chat(data, "<>").asked.params, _SAID, True),
}  # fmt: skip


@pytest.mark.parametrize("dialect", _DIALECTS)
def test_what_is_streamed_is_read_as_it_comes(dialect):
    params_of, body, by_default = _DIALECTS[dialect]

    def is_read(**given):
        return params_of(json.dumps({"model": "m", **body, **given}).encode()).is_read

    assert is_read(stream=True)
    assert not is_read(stream=False)
    assert is_read() == by_default
