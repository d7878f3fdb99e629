"""What a request says by an id alone: the conversation that it goes on with, by its
`previous_response_id`, and items of the model's (`item_reference`), as Vercel's AI SDK gives them
back unless it is told `store: false`. Both come from the responses that are kept.
"""

from collections.abc import Mapping, Sequence

import msgspec

from edgellm.errors import BadRequest
from edgellm.server.openai.messages import MAX_ITEMS
from edgellm.server.openai.wire import encode
from edgellm.server.responses.items import Item
from edgellm.server.responses.store import SHOWN, Kept, Store


class _Told(msgspec.Struct):
    output: list[Item]


_item_decoder = msgspec.json.Decoder(Item)
_told_decoder = msgspec.json.Decoder(_Told)


def given(kept: Kept) -> list[Item]:
    """Its own input."""
    return list(map(_item_decoder.decode, kept.given))


def said(kept: Kept) -> list[Item]:
    """The model's items, as a client would send them back."""
    return _told_decoder.decode(kept.told).output


def conversation(id: str | None, store: Store, owner: str) -> tuple[list[Item], int]:
    """Up to this response's end, and how many bytes it is. Raises BadRequest."""
    several = store.conversation(id, owner) if id else []
    n_items = sum(len(kept.given) for kept in several)
    if n_items > MAX_ITEMS:
        param = "previous_response_id"
        words = f"{param}: the conversation has {n_items} items by now, more than {MAX_ITEMS}"
        raise BadRequest(words, param=param)
    items = [item for kept in several for item in (*given(kept), *said(kept))]
    return items, sum(len(kept.told) + sum(map(len, kept.given)) for kept in several)


def recalled(items: Sequence[Item], store: Store, owner: str) -> tuple[Sequence[Item], int]:
    """The input with the items that it refers to, and how many bytes these are. Raises BadRequest
    that names the place of one that is not there, or there twice: so they are never more than what
    is kept, however short the ids are."""
    if not any(item.is_reference for item in items):
        return items, 0
    found = dict[str, Item]()
    kept = _Outputs(store, owner)
    for i, item in enumerate(items):
        if item.is_reference:
            id, where = item.id or "", f"input[{i}]"
            if id in found:
                words = f"{where}: Duplicate item found with id {id[:SHOWN]!r}"
                raise BadRequest(words, param=where)
            found[id] = kept.find(id, where)
    whole = [found[one.id or ""] if one.is_reference else one for one in items]
    return whole, sum(len(encode(item)) for item in found.values())


class _Outputs:
    """Items of the model's by their ids. Each response is read once, however many are asked for."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store, self._owner = store, owner
        self._by_response: dict[str, Mapping[str | None, Item]] = {}

    def find(self, id: str, where: str) -> Item:
        """`id` has its response's in it: see Output."""
        _, _, rest = id.partition("_")
        response_id = f"resp_{rest.rpartition('_')[0]}"
        if response_id not in self._by_response:
            kept = self._store.find(response_id, self._owner)
            several = said(kept) if kept else []
            self._by_response[response_id] = {item.id: item for item in several}
        if (item := self._by_response[response_id].get(id)) is not None:
            return item
        raise BadRequest(
            f"{where}: Item with id {id[:SHOWN]!r} not found: not kept, or no longer",
            hint="send it whole, as clients do that are told store: false",
            param=where,
        )
