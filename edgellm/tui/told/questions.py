"""What a chat asks: its messages, as JSON, and what is left out where the context is full. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

from edgellm.errors import BadRequest

PATH = "/v1/chat/completions"


class ImageURL(msgspec.Struct, frozen=True):
    url: str


class InputAudio(msgspec.Struct, frozen=True):
    data: str  # base64
    format: str | None


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str  # "text", "image_url", "input_audio"
    text: str | None = None
    image_url: ImageURL | None = None
    input_audio: InputAudio | None = None


class Message(msgspec.Struct, frozen=True):
    role: str  # "system", "user", "assistant"
    content: str | tuple[Part, ...]


AnyMessage: TypeAlias = Message | Mapping[str, Any]  # as OpenAI's API has it


def with_pictures(parts: Sequence[Part], text: str) -> Message:
    """A user's question about pictures or sounds, which come first."""
    return Message("user", (*parts, Part("text", text)))


def thinking(thinks: bool | None) -> dict[str, object]:
    """The option that says so. None: as the model's template has it."""
    return {} if thinks is None else {"enable_thinking": thinks}


def encoded(model: str, messages: Sequence[AnyMessage], options: Mapping[str, object]) -> bytes:
    """The body of a request for a stream. Raises BadRequest for what is no JSON."""
    body = {
        "model": model,
        "messages": messages,
        **options,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest(f"this can't be asked in JSON: {error}") from error


class Said(Protocol):
    @property
    def role(self) -> str: ...


AnySaid = TypeVar("AnySaid", bound=Said)


def newer_half(said: Sequence[AnySaid]) -> Sequence[AnySaid]:
    """What is left of a conversation that outgrew the context: half of its questions, with their
    answers. Half, so that the next ones find what was computed for this one. Nothing of one."""
    questions = [i for i, message in enumerate(said) if message.role == "user"]
    return said[questions[len(questions) // 2] :] if len(questions) > 1 else ()


@dataclass(slots=True)
class Asked:
    """All that is sent of a conversation, the question last."""

    messages: Sequence[Message] = ()
    n_left_out: int = 0  # earlier questions, for which the context has no room

    def leave_out(self) -> bool:
        """The older half; False where only the question is left."""
        newer = newer_half(self.messages)
        if newer:
            self.n_left_out += _n_questions(self.messages) - _n_questions(newer)
            self.messages = newer
        return bool(newer)

    @property
    def note(self) -> str:
        plural = "s" if self.n_left_out > 1 else ""
        return f"{self.n_left_out} earlier question{plural} left out: the context is full"


def _n_questions(said: Sequence[Said]) -> int:
    return sum(1 for message in said if message.role == "user")
