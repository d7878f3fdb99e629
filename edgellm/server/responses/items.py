"""A conversation as the Responses API writes it, to our messages.

There a turn of the model is several items: its thoughts, its text, its calls. Here it is one
message, as templates want it: some refuse two of the model's in a row. For items that have an id
only (`item_reference`) those that they name have been put in by then (earlier.py).

Codex offers some of its tools in the input, as `additional_tools`, and hands one agent's words to
another as an `agent_message`. What it calls `encrypted_content` there is what the model wrote, as
only OpenAI's servers would have locked it. What these have searched or drawn in a conversation that
began there is passed over.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgellm.chat.messages import Message, ToolCall
from edgellm.errors import BadRequest
from edgellm.server.openai import attached
from edgellm.server.openai.images import Gallery, ImageURL, InputAudio
from edgellm.server.openai.messages import MAX_PARTS, MAX_TOOLS, Name
from edgellm.server.responses.tools import INPUT, ToolBody, full_name, is_passed_over

_OFFER = "additional_tools"
_TEXTS = frozenset({"input_text", "output_text", "text", "reasoning_text", "summary_text"})


class Part(msgspec.Struct, omit_defaults=True):
    type: Name
    text: str | None = None
    refusal: str | None = None
    encrypted_content: str | None = None
    image_url: ImageURL | str | None = None
    input_audio: InputAudio | None = None
    file_data: str | None = None
    filename: Name | None = None


Words = str | Annotated[list[Part], Meta(max_length=MAX_PARTS)]


class Item(msgspec.Struct, omit_defaults=True):
    id: str | None = None  # as long as whoever gave it likes
    type: Name | None = None  # absent: a message
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: Words | None = None
    summary: Annotated[list[Part], Meta(max_length=MAX_PARTS)] | None = None
    call_id: Name | None = None
    name: Name | None = None
    namespace: Name | None = None
    arguments: str | None = None
    input: str | None = None
    output: Words | None = None
    tools: Annotated[list[ToolBody], Meta(max_length=MAX_TOOLS)] | None = None

    @property
    def is_reference(self) -> bool:
        """OpenAI lets it do without its type."""
        is_bare = self.type is None and self.role is None and self.content is None
        return self.type == "item_reference" or (is_bare and self.id is not None)


def listed(given: str | Sequence[Item]) -> Sequence[Item]:
    """A text alone is the user's."""
    return [Item(role="user", content=given)] if isinstance(given, str) else given


def additional_tools(items: Iterable[Item]) -> list[ToolBody]:
    """Those that items offer, in their order."""
    return [tool for one in items if one.type == _OFFER for tool in one.tools or ()]


def messages(
    instructions: str | None, earlier: Sequence[Item], given: Sequence[Item], gallery: Gallery
) -> tuple[Message, ...]:
    """`earlier`: what the input goes on with. Raises BadRequest that names the item's place."""
    talk = _Talk(gallery)
    for item in earlier:
        talk.add(item, "previous_response_id")
    for i, item in enumerate(given):
        talk.add(item, f"input[{i}]")
    first = (Message("system", instructions),) if instructions else ()
    return (*first, *talk.told())


class _Talk:
    """The messages so far, and the model's turn that is still growing."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._messages: list[Message] = []
        self._turn = _Turn()

    def told(self) -> list[Message]:
        self._end_turn()
        return self._messages

    def add(self, item: Item, where: str) -> None:
        match item.type or "message":
            case "message":
                self._message(item, where)
            case "agent_message":
                self._end_turn()
                self._messages.append(Message("user", self._text(item.content, f"{where}.content")))
            case "reasoning":
                self._reasoning(item, where)
            case "function_call":
                self._turn.call(_call(item, item.arguments or "{}", where))
            case "custom_tool_call":
                text = msgspec.json.encode({INPUT: item.input or ""}).decode()
                self._turn.call(_call(item, text, where))
            case "function_call_output" | "custom_tool_call_output":
                self._end_turn()
                text = self._text(item.output, f"{where}.output")
                self._messages.append(Message("tool", text, tool_call_id=item.call_id or None))
            case other if other != _OFFER and not is_passed_over(other):
                raise BadRequest(
                    f"{where}: an item of type {other[:40]!r} is not served",
                    hint="send messages, reasoning, calls and their outputs",
                    param=where,
                )

    def _message(self, item: Item, where: str) -> None:
        if item.role is None or item.content is None:
            missing = "role" if item.role is None else "content"
            raise BadRequest(f"{where}.{missing}: is missing", param=f"{where}.{missing}")
        text = self._text(item.content, f"{where}.content")
        if item.role != "assistant":
            self._end_turn()
            self._messages.append(Message(item.role, text))
            return
        if self._turn.text is not None and not self._turn.calls:
            later, self._turn.later = self._turn.later, []
            self._end_turn()
            self._turn.thoughts = later
        self._turn.text = (self._turn.text or "") + text

    def _reasoning(self, item: Item, where: str) -> None:
        """Its content; where it has none, the summary. OpenAI's own are locked, and nothing here
        could read them."""
        thoughts = self._text(item.content, f"{where}.content")
        thoughts = thoughts or self._text(item.summary, f"{where}.summary")
        if thoughts:
            (self._turn.thoughts if self._turn.text is None else self._turn.later).append(thoughts)

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, _Turn()
        thoughts = [*turn.thoughts, *turn.later]
        if turn.text is None and not (turn.calls or thoughts):
            return
        self._messages.append(
            Message(
                "assistant",
                turn.text or "",
                reasoning="\n\n".join(thoughts) or None,
                tool_calls=tuple(turn.calls),
            )
        )

    def _text(self, given: str | list[Part] | None, where: str) -> str:
        if not isinstance(given, list):
            return given or ""
        return "".join(self._written(part, f"{where}[{n}]") for n, part in enumerate(given))

    def _written(self, part: Part, where: str) -> str:
        if part.type in _TEXTS and part.text is not None:
            return part.text
        if part.type == "input_image" and part.image_url is not None:
            return self._gallery.add(part.image_url, where)
        if part.type == "input_audio" and part.input_audio is not None:
            return self._gallery.add_audio(part.input_audio, where)
        if part.type == "refusal" and part.refusal is not None:
            return part.refusal
        if part.type == "input_file":
            return attached.file(part.file_data, part.filename, where)
        if part.type == "encrypted_content" and part.encrypted_content is not None:
            return part.encrypted_content
        raise BadRequest(
            f"{where}: a part of type {part.type[:40]!r} is not served, only input_text, "
            "input_audio, input_file, and input_image with an image_url",
            param=where,
        )


class _Turn:
    """`later`: thoughts behind its text. They are this turn's, unless another text follows."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.thoughts: list[str] = []
        self.later: list[str] = []
        self.calls: list[ToolCall] = []

    def call(self, called: ToolCall) -> None:
        self.thoughts, self.later = [*self.thoughts, *self.later], []
        self.calls.append(called)


def _call(item: Item, arguments: str, where: str) -> ToolCall:
    for field, value in (("call_id", item.call_id), ("name", item.name)):
        if not value:
            raise BadRequest(f"{where}.{field}: is missing", param=f"{where}.{field}")
    return ToolCall(item.call_id or "", full_name(item.name or "", item.namespace), arguments)
