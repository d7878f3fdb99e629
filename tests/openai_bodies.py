"""Bodies of the OpenAI dialect, and how they are refused."""

import json

import pytest

from edgellm.errors import BadRequest
from edgellm.server.openai.requests import chat_request, completion_request


def chat(**fields):
    return chat_request(
        json.dumps({"messages": [{"role": "user", "content": "Hi"}]} | fields).encode(), "__mark__"
    )


def chat_written(field, written):
    """With a field's value in the client's own bytes."""
    start = b'{"messages": [{"role": "user", "content": "Hi"}], '
    return chat_request(start + b'"%s": %s}' % (field.encode(), written), "__mark__")


def completion(**fields):
    return completion_request(json.dumps({"prompt": "Hi"} | fields).encode())


def refused(call, *args, **fields):
    with pytest.raises(BadRequest) as raised:
        call(*args, **fields)
    return raised.value
