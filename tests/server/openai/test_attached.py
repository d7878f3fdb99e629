"""Files in a chat: those of text are shown, all others refused."""

import base64
import json

import pytest

from edgellm.errors import BadRequest
from edgellm.server.openai.attached import document, file
from edgellm.server.openai.requests import chat_request


def in_base64(data):
    return base64.b64encode(data).decode()


def asked(**file):
    part = {"type": "file", "file": file}
    body = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "Which?"}]}]}
    return chat_request(json.dumps(body).encode(), "__mark__").messages[0].text


@pytest.mark.parametrize("before", ["", "data:text/csv;base64,", "data:application/pdf;base64,"])
def test_a_file_of_text_is_shown_whatever_its_name_says(before):
    text = asked(filename="a.csv", file_data=before + in_base64("Grüß,1\n".encode()))
    assert text == "<document>\n<source>a.csv</source>\nGrüß,1\n\n</document>\nWhich?"


def test_one_without_a_name_has_none():
    assert document("a", None) == document("a", "") == "<document>\na\n</document>\n"


@pytest.mark.parametrize(
    "data",
    [in_base64(b"%PDF-1.7"), in_base64(b"a\0b"), in_base64(b"\xff\xfe"), "a", "data:x", "é", "SGk"],
)
def test_any_other_is_refused_by_its_name(data):
    with pytest.raises(BadRequest, match=r"^here: the file 'a\.pdf' is no text in UTF-8") as raised:
        file(data, "a.pdf", "here")
    assert raised.value.param == "here"


@pytest.mark.parametrize("given", [{}, {"file_id": "file_1"}, {"filename": "a"}])
def test_one_that_is_not_in_the_request_is_not_looked_for(given):
    with pytest.raises(BadRequest, match=r"content\[0\]: a file without file_data") as raised:
        asked(**given)
    assert raised.value.param == "messages[0].content[0]"
