"""What answers were made of, for clients that give back no more than an item's id.

Vercel's AI SDK does so unless it is told `store: false`, and so a conversation of two turns would
end at the second. Only the model's own items are kept, in memory, as long as there is room: the one
that nobody has referred to for longest goes first. An id is drawn by lot, and whoever has it was
told it.
"""

from collections.abc import Iterable, Sequence

import msgspec

from edgellm.errors import BadRequest
from edgellm.server.openai.wire import encode
from edgellm.server.responses import object as wire
from edgellm.server.responses.items import Item
from edgellm.units import MIB

MOST_BYTES = 8 * MIB  # thousands of turns

_SHOWN = 80  # letters of an id; ours are shorter

_decoder = msgspec.json.Decoder(Item)


class Recall:
    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes, self._n_bytes = most_bytes, 0
        self._items: dict[str, bytes] = {}  # by id, as they would be sent; the next to go first

    def keep(self, items: Iterable[wire.Item]) -> None:
        for item in items:
            self._put(item.id, encode(_decoder.decode(encode(item))))
        while self._n_bytes > self._most_bytes:
            self._take(next(iter(self._items)))

    def find(self, id: str) -> bytes | None:
        data = self._take(id)
        if data is not None:
            self._put(id, data)
        return data

    def _put(self, id: str, data: bytes) -> None:
        self._take(id)
        self._items[id] = data
        self._n_bytes += len(data)

    def _take(self, id: str) -> bytes | None:
        data = self._items.pop(id, None)
        self._n_bytes -= len(data or b"")
        return data


def recalled(given: str | Sequence[Item], recall: Recall) -> tuple[str | Sequence[Item], int]:
    """The input with the items that it refers to, and how many bytes these are. Raises BadRequest
    that names the place of one that is not there, or there twice: so they are never more than what
    is kept, however short the ids are."""
    if isinstance(given, str) or not any(item.is_reference for item in given):
        return given, 0
    found = dict[str, bytes]()
    for i, item in enumerate(given):
        if item.is_reference:
            id, where = item.id or "", f"input[{i}]"
            if id in found:
                words = f"{where}: Duplicate item found with id {id[:_SHOWN]!r}"
                raise BadRequest(words, param=where)
            found[id] = _found(id, where, recall)
    items = [_decoder.decode(found[one.id or ""]) if one.is_reference else one for one in given]
    return items, sum(map(len, found.values()))


def _found(id: str, where: str, recall: Recall) -> bytes:
    if (data := recall.find(id)) is not None:
        return data
    raise BadRequest(
        f"{where}: Item with id {id[:_SHOWN]!r} not found: not kept, or no longer",
        hint="send it whole, as clients do that are told store: false",
        param=where,
    )
