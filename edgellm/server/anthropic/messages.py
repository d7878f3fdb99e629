"""A conversation as Anthropic's clients send it, to our messages.

A user's message may hold results of calls among its words: each becomes a message of its own, in
the order in which they stand. Thoughts that are given back go to the template, which knows whether
its model sees them again; redacted ones nobody can read, and so they are passed over.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw

from edgellm.chat.messages import Message, ToolCall
from edgellm.errors import BadRequest
from edgellm.server.body import object_text
from edgellm.server.openai import attached
from edgellm.server.openai.images import Gallery
from edgellm.server.openai.messages import MAX_PARTS, Name
from edgellm.server.openai.unserved import NULL

# Claude Code begins its system prompt with a line that has another stamp each time ("cch=ef01a;"):
# all that comes after it would have to be read again.
_STAMP = re.compile(r"(?<=\bcch=)[0-9a-f]{5}(?=;)")
_STAMPED = "x-anthropic-billing-header:"


class Source(msgspec.Struct):
    type: Name
    media_type: Name | None = None
    data: str | None = None
    url: str | None = None
    content: "Parts | None" = None


class Citations(msgspec.Struct):
    enabled: bool | None = None


class Part(msgspec.Struct):
    """Of a result, of a document, or of the system prompt."""

    type: Name
    text: str | None = None
    source: Source | str | None = None  # of a search's result a word: where it was found
    tool_name: Name | None = None  # of a tool that a search has found
    title: str | None = None
    context: str | None = None
    citations: Citations | None = None
    content: "Parts | None" = None


Parts: TypeAlias = str | Annotated[list[Part], Meta(max_length=MAX_PARTS)]
_Write: TypeAlias = Callable[[Part, str, Gallery], str]


class Block(Part, kw_only=True):
    id: Name | None = None
    name: Name | None = None
    input: Raw = NULL
    tool_use_id: Name | None = None
    is_error: bool | None = None
    thinking: str | None = None


class MessageBody(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | Annotated[list[Block], Meta(max_length=MAX_PARTS)]


def messages(
    system: Parts | None, given: Sequence[MessageBody], gallery: Gallery
) -> tuple[Message, ...]:
    """Raises BadRequest that names the place of what is not served."""
    found = [Message("system", _system(system))] if system else []
    for i, one in enumerate(given):
        where = f"messages[{i}].content"
        if isinstance(one.content, str):
            found.append(Message(one.role, one.content))
        elif one.role == "assistant":
            found.append(_answer(one.content, where, gallery))
        else:
            found += _said(one.role, one.content, where, gallery)
    return tuple(found)


def _system(given: Parts) -> str:
    parts = [Part("text", given)] if isinstance(given, str) else given
    texts = [_text(part, f"system[{n}]") for n, part in enumerate(parts)]
    return "\n".join(
        _STAMP.sub("fffff", text, count=1) if text.startswith(_STAMPED) else text for text in texts
    )


def _answer(blocks: Sequence[Block], where: str, gallery: Gallery) -> Message:
    texts, thoughts, calls = list[str](), list[str](), list[ToolCall]()
    for n, block in enumerate(blocks):
        place = f"{where}[{n}]"
        match block.type:
            case "thinking":
                thoughts.append(block.thinking or "")
            case "redacted_thinking":
                pass
            case "tool_use":
                calls.append(_call(block, place))
            case _:
                texts.append(_written(block, place, gallery))
    return Message(
        role="assistant",
        text="".join(texts),
        reasoning="".join(thoughts) or None,
        tool_calls=tuple(calls),
    )


def _said(
    role: Literal["user", "system"], blocks: Sequence[Block], where: str, gallery: Gallery
) -> Iterator[Message]:
    """Results, and the words between them."""
    texts: list[str] = []
    for n, block in enumerate(blocks):
        if block.type != "tool_result":
            texts.append(_written(block, f"{where}[{n}]", gallery))
            continue
        if texts:
            yield Message(role, "".join(texts))
            texts = []
        yield _result(block, f"{where}[{n}]", gallery)
    if texts or not blocks:
        yield Message(role, "".join(texts))


def _call(block: Block, where: str) -> ToolCall:
    if not block.name:
        raise BadRequest(f"{where}.name: is missing", param=f"{where}.name")
    return ToolCall(
        block.id or where, block.name, object_text(block.input, f"{where}.input") or "{}"
    )


def _result(block: Block, where: str, gallery: Gallery) -> Message:
    """A template has no word for a call that failed: its text says so."""
    text = _all(_written, block.content, where, gallery)
    return Message(
        role="tool",
        text=f"Error: {text}" if block.is_error else text,
        tool_call_id=block.tool_use_id or None,
    )


def _written(part: Part, where: str, gallery: Gallery) -> str:
    if part.type == "document" and isinstance(part.source, Source):
        return _document(part, part.source, where, gallery)
    if part.type == "search_result" and isinstance(part.source, str):
        _check_cites_nothing(part, where)
        text = _all(_plain, part.content, where, gallery)
        return attached.document(text, ", ".join(filter(None, (part.title, part.source))))
    if part.type == "tool_reference" and part.tool_name:
        return f"{part.tool_name}\n"  # the model is shown it with all others
    return _plain(part, where, gallery)


def _plain(part: Part, where: str, gallery: Gallery) -> str:
    if part.type == "image" and isinstance(part.source, Source):
        return gallery.add(_url(part.source, where), where)
    return _text(part, where)


def _all(write: _Write, given: Parts | None, where: str, gallery: Gallery) -> str:
    if not isinstance(given, list):
        return given or ""
    return "".join(write(part, f"{where}.content[{n}]", gallery) for n, part in enumerate(given))


def _document(part: Part, source: Source, where: str, gallery: Gallery) -> str:
    _check_cites_nothing(part, where)
    if source.type == "text" and source.data is not None:
        text = source.data
    elif source.type == "content":
        text = _all(_plain, source.content, f"{where}.source", gallery)
    else:
        raise BadRequest(
            f"{where}.source: a document of type {source.type[:40]!r} is not read here, only text "
            "and content",
            hint="send its text",
            param=f"{where}.source",
        )
    return attached.document(f"{part.context}\n\n{text}" if part.context else text, part.title)


def _check_cites_nothing(part: Part, where: str) -> None:
    if part.citations and part.citations.enabled:
        where = f"{where}.citations"
        raise BadRequest(f"{where}: are not served, the answer would be without", param=where)


def _text(part: Part, where: str) -> str:
    if part.type != "text":
        raise BadRequest(
            f"{where}: a block of type {part.type[:40]!r} is not served here", param=where
        )
    if part.text is None:
        raise BadRequest(f"{where}.text: is missing", param=f"{where}.text")
    return part.text


def _url(source: Source, where: str) -> str:
    """As the gallery takes it."""
    if source.type == "url" and source.url is not None:
        return source.url
    if source.type != "base64" or source.data is None:
        raise BadRequest(
            f"{where}.source: one of type {source.type[:40]!r} is not served, only base64 and url",
            param=f"{where}.source",
        )
    return f"data:{source.media_type or 'image/*'};base64,{source.data}"
