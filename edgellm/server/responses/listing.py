"""What a response was asked with, as OpenAI lists it: item by item, each with an id, in pages."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from edgellm.errors import BadRequest
from edgellm.server.openai.images import ImageURL
from edgellm.server.responses.items import Item, Part

_PREFIXES = {
    "message": "msg", "agent_message": "amsg", "reasoning": "rs", "additional_tools": "at",
    "function_call": "fc", "function_call_output": "fco", "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}  # fmt: skip

ShownItem = dict[str, Any]


class Page(msgspec.Struct):
    data: list[ShownItem]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


def page(items: Sequence[ShownItem], after: str | None, limit: int) -> Page:
    """So many behind the one that has this id. Raises BadRequest where there is none."""
    first = 0
    if after is not None:
        places = [i for i, item in enumerate(items, start=1) if item["id"] == after]
        if not places:
            raise BadRequest(f"after: no item has the id {after[:80]!r}", param="after")
        first = places[0]
    shown = list(items[first : first + limit])
    ids = [item["id"] for item in shown] or [None]
    return Page(shown, ids[0], ids[-1], first + limit < len(items))


def shown_items(items: Iterable[Item], response_id: str) -> list[ShownItem]:
    """An item that came without an id has one of its place in this response."""
    own = response_id.partition("_")[2]
    return [_shown(item, f"{own}_in{i}") for i, item in enumerate(items)]


def _shown(item: Item, place: str) -> ShownItem:
    kind = item.type or "message"
    given = msgspec.structs.asdict(item)
    shown = {name: value for name, value in given.items() if value is not None}
    shown |= {"id": item.id or f"{_PREFIXES[kind]}_{place}", "type": kind}
    if kind != "additional_tools":
        shown["status"] = "completed"
    if item.content is not None:
        shown["content"] = _parts(item.content, item.role)
    if isinstance(item.output, list):
        shown["output"] = _parts(item.output, None)
    if kind == "reasoning":
        shown.setdefault("summary", [])
    return shown


def _parts(given: str | Iterable[Part], role: str | None) -> list[Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    parts = [Part(kind, given)] if isinstance(given, str) else given
    return [_part(one, kind) for one in parts]


def _part(part: Part, kind: str) -> ShownItem | Part:
    if part.type in ("text", kind) and part.text is not None:
        more = {"annotations": ()} if kind == "output_text" else {}
        return {"type": kind, "text": part.text, **more}
    if part.image_url is not None:
        url = part.image_url.url if isinstance(part.image_url, ImageURL) else part.image_url
        return {"type": "input_image", "image_url": url, "detail": "auto"}
    return part
