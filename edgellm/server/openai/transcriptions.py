"""A recording to its text, in OpenAI's words: a form in, a transcription out.

The model is asked by an instruction, as llama-server asks it. So what is told is its text: when a
word was said, and in which language, no model of these says.

Sources: OpenAI's API reference, "Create transcription"; llama.cpp tools/server/server-chat.cpp
convert_transcriptions_to_chatcmpl, server-task.cpp to_json_oaicompat_asr.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from edgellm.chat.events import Finished, TextDelta, Told
from edgellm.chat.messages import ChatRequest, GenerateParams, Message, SamplingParams
from edgellm.errors import BadRequest
from edgellm.server.body import Bytes, Text, decode
from edgellm.server.manners import frame
from edgellm.server.openai.forms import form_fields
from edgellm.server.openai.images import Gallery
from edgellm.server.openai.messages import Name
from edgellm.server.openai.wire import DONE, PromptDetails, encode

FILE: Final = "file"
_INSTRUCTION: Final = "Transcribe audio to text"  # common_chat_get_asr_prompt
_LFM2: Final = ("<|tool_list_start|>", "Perform ASR.")  # by its template; as a system message
_SEGMENTED: Final = ("srt", "vtt", "diarized_json")
_UNSERVED: Final = (
    "include[]", "timestamp_granularities[]", "known_speaker_names[]", "known_speaker_references[]",
)  # fmt: skip

Format: TypeAlias = Literal["json", "text", "verbose_json", "srt", "vtt", "diarized_json"]


class _Form(msgspec.Struct):
    """Of a form all is text: `decode` makes numbers of those that are to be some."""

    model: Name = ""
    language: Annotated[str, Meta(max_length=64)] = ""
    prompt: Text = ""
    response_format: Format = "json"
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0
    max_tokens: Annotated[int, Meta(ge=1)] | None = None  # llama-server's
    stream: bool = False


_decoder = msgspec.json.Decoder(_Form, strict=False)


@dataclass(frozen=True, slots=True)
class AskedTranscription:
    model: str
    file: bytes
    form: Format
    stream: bool
    language: str
    prompt: str
    params: GenerateParams

    def chat(self, template: str) -> ChatRequest:
        """The conversation that asks for it; `template`: the model's own, which says its kind."""
        pictures = self.params.pictures
        assert pictures
        words = self.prompt or _INSTRUCTION
        mark, system = _LFM2
        before: tuple[Message, ...] = ()
        if mark in template:
            before, words = (Message("system", system),), self.prompt
        if self.language:
            words += f" (language: {self.language})"
        return ChatRequest(
            self.model,
            (*before, Message("user", words + pictures.mark)),
            self.params,
            stream=self.stream,
            template_kwargs={"enable_thinking": False},
        )


def transcription_request(body: Bytes, content_type: str, mark: str) -> AskedTranscription:
    """Raises BadRequest that names the field. `mark`: see images.Gallery."""
    fields = form_fields(body, content_type)
    file = fields.pop(FILE, None)
    if file is None:
        raise BadRequest(f"{FILE}: is missing", param=FILE)
    for name in _UNSERVED:
        if fields.get(name):
            words = f"{name}: is not served; the model says its text alone"
            raise BadRequest(words, param=name)
    known = {name: _text(name, fields[name]) for name in _Form.__struct_fields__ if name in fields}
    form = decode(_decoder, msgspec.json.encode({k: v for k, v in known.items() if v}))
    if form.response_format in _SEGMENTED or (form.stream and form.response_format != "json"):
        beside = " with stream" if form.stream else ""
        raise BadRequest(
            f"response_format: {form.response_format} is not served{beside}",
            hint="json, text and verbose_json are, and of a stream json",
            param="response_format",
        )
    gallery = Gallery(mark)
    gallery.add_file(file, FILE)
    params = GenerateParams(
        SamplingParams(temperature=form.temperature),
        said=("temperature",),  # 0 is OpenAI's default, whatever the model's is
        max_tokens=form.max_tokens,
        pictures=gallery.pictures(),
        is_read=form.stream,
    )
    return AskedTranscription(
        form.model, file, form.response_format, form.stream, form.language, form.prompt, params
    )


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"{name}: is not UTF-8", param=name) from error


class Usage(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: PromptDetails
    type: str = "tokens"


class Transcription(msgspec.Struct):
    text: str
    usage: Usage


class VerboseTranscription(msgspec.Struct):
    """Without segments: nobody knows when they were said. `language` is what the client said."""

    duration: float
    language: str | None
    text: str
    usage: Usage
    task: str = "transcribe"


class _Delta(msgspec.Struct):
    delta: str
    type: str = "transcript.text.delta"


class _Done(msgspec.Struct):
    text: str
    usage: Usage
    type: str = "transcript.text.done"


class TranscriptStream:
    """Text as it comes, then all of it once more."""

    def __init__(self) -> None:
        self._text: list[str] = []

    def feed(self, index: int, event: Told) -> bytes:
        match event:
            case TextDelta(text=text) if text:
                self._text.append(text)
                return frame(encode(_Delta(text)))
            case Finished():
                return frame(encode(_Done("".join(self._text), _usage(event)))) + DONE
        return b""  # of thoughts nobody asked, and of how far the prompt is


class TranscriptFold:
    """Nothing until the last event. `length_s`: of the recording, for whom it is told."""

    def __init__(self, form: Format, language: str, length_s: float | None) -> None:
        self._form, self._language, self._length_s = form, language, length_s
        self._text: list[str] = []

    def feed(self, index: int, event: Told) -> bytes:
        if isinstance(event, TextDelta):
            self._text.append(event.text)
        if not isinstance(event, Finished):
            return b""
        text, usage = "".join(self._text), _usage(event)
        if self._form == "text":
            return text.encode() + b"\n"
        if self._length_s is None:
            return encode(Transcription(text, usage))
        language = self._language or None
        return encode(VerboseTranscription(round(self._length_s, 3), language, text, usage))


def _usage(finished: Finished) -> Usage:
    n_prompt, n_output = finished.n_prompt, finished.n_output
    details = PromptDetails(finished.n_cached)
    return Usage(n_prompt, n_output, n_prompt + n_output, details)
