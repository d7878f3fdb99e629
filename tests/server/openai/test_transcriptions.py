import json

import httpx2
import pytest
from sound_files import wav

from edgellm.chat.events import Finished, ReasoningDelta, TextDelta
from edgellm.chat.messages import Message
from edgellm.errors import BadRequest
from edgellm.server.openai.transcriptions import (
    TranscriptFold,
    TranscriptStream,
    transcription_request,
)

MARK = "(sound)"
END = Finished("stop", 40, 30, 2)
EVENTS = (ReasoningDelta("hm"), TextDelta("Once"), TextDelta(" upon"), END)
USAGE = {
    "input_tokens": 40, "output_tokens": 2, "total_tokens": 42,
    "input_tokens_details": {"cached_tokens": 30}, "type": "tokens",
}  # fmt: skip


def asked(**fields):
    form = httpx2.Request("POST", "http://x", data=fields, files={"file": wav(0.2)})
    return transcription_request(form.read(), form.headers["content-type"], MARK)


def fed(dialect):
    return b"".join(dialect.feed(0, event) for event in EVENTS)


def test_it_is_a_chat_with_one_question():
    found = asked(model="tiny")
    chat = found.chat("")
    assert chat.messages == (Message("user", f"Transcribe audio to text{MARK}"),)
    assert (chat.model, chat.stream, chat.params.pictures.names) == ("tiny", False, ("file",))
    assert (chat.params.sampling.temperature, chat.params.said) == (0.0, ("temperature",))
    assert chat.template_kwargs == {"enable_thinking": False}


def test_numbers_and_switches_are_texts_in_a_form():
    found = asked(temperature="0.5", stream="true", max_tokens="9", language="de", prompt="Hear")
    assert (found.params.sampling.temperature, found.params.max_tokens) == (0.5, 9)
    assert found.stream
    assert found.chat("").messages == (Message("user", f"Hear (language: de){MARK}"),)
    assert not asked(stream="false").stream


def test_lfm2_is_asked_by_a_system_message():
    chat = asked().chat("{# <|tool_list_start|> #}")
    assert chat.messages == (Message("system", "Perform ASR."), Message("user", MARK))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": "perhaps"}, "stream"),
        ({"max_tokens": "0"}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"response_format": "xml"}, "response_format"),
        ({"response_format": "vtt"}, "response_format"),
        ({"known_speaker_names[]": "me"}, "known_speaker_names[]"),
    ],
)
def test_what_is_wrong_is_named(fields, param):
    with pytest.raises(BadRequest) as caught:
        asked(**fields)
    assert caught.value.param == param


def test_a_whole_answer_is_its_text_and_its_usage():
    assert json.loads(fed(TranscriptFold("json", "", None))) == {
        "text": "Once upon", "usage": USAGE,
    }  # fmt: skip
    assert fed(TranscriptFold("text", "", None)) == b"Once upon\n"
    assert json.loads(fed(TranscriptFold("verbose_json", "", 1.23456))) == {
        "task": "transcribe", "duration": 1.235, "language": None, "text": "Once upon",
        "usage": USAGE,
    }  # fmt: skip


def test_a_stream_is_deltas_and_the_whole_once_more():
    frames = fed(TranscriptStream()).decode().split("\n\n")
    told = [json.loads(frame.removeprefix("data: ")) for frame in frames[:3]]
    assert told == [
        {"type": "transcript.text.delta", "delta": "Once"},
        {"type": "transcript.text.delta", "delta": " upon"},
        {"type": "transcript.text.done", "text": "Once upon", "usage": USAGE},
    ]
    assert frames[3:] == ["data: [DONE]", ""]
