"""The responses that a client may come back to: in memory, within so many bytes, nowhere else.

One has its own input and what it said. The conversation before it is that of the response which it
follows, so no text is there once more with every turn; and where clients send all of it again, as
most agents do, equal items are there once. Who was asked for longest ago goes first, and whoever is
asked for counts with all that it follows: so an answer never goes before those that follow it.
An id is drawn by lot, and a response is there for the key only that asked for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgellm.errors import BadRequest
from edgellm.units import MIB, format_bytes, parse_bytes

_OF_MEMORY_RATIO = 1 / 256
_LEAST_USUAL_BYTES, _MOST_USUAL_BYTES = 8 * MIB, 128 * MIB  # 8 MiB are thousands of turns
_FRAMES_RATIO = 1 / 8  # of all the room, that what was streamed of one response may take
_EACH_BYTES = 128  # what Python takes for a text, and its place, besides
SHOWN = 80  # letters of an id; ours are shorter


def store_bytes(setting: str | None, memory_bytes: int) -> int:
    """As it was set (config.py has looked at it), or as it is usual on a machine with so much
    memory. 0: nothing is kept."""
    if setting is not None:
        return parse_bytes(setting)
    share = int(memory_bytes * _OF_MEMORY_RATIO)
    return min(max(share, _LEAST_USUAL_BYTES), _MOST_USUAL_BYTES)


class Lost(BadRequest):
    """OpenAI's words and its status, by which its clients send the whole conversation instead."""

    code = "previous_response_not_found"

    def __init__(self, id: str, hint: str) -> None:
        param = "previous_response_id"
        self.id = id
        super().__init__(
            f"Previous response with id {id[:SHOWN]!r} not found", hint=hint, param=param
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """`told` is the response and `given` its own input's items, as JSON; `frames` what was streamed
    of one that went on without its client."""

    owner: str
    previous_id: str | None
    given: tuple[bytes, ...]
    told: bytes
    is_background: bool = False
    frames: tuple[bytes, ...] = ()

    @property
    def own_bytes(self) -> int:
        """Without `given`, whose texts others may have, too."""
        return len(self.told) + _EACH_BYTES * (1 + len(self.given)) + self.frames_bytes

    @property
    def frames_bytes(self) -> int:
        return sum(map(len, self.frames)) + _EACH_BYTES * len(self.frames)


class Store:
    def __init__(self, most_bytes: int = _LEAST_USUAL_BYTES) -> None:
        self.most_bytes, self.n_bytes = most_bytes, 0
        self._kept: dict[str, Kept] = {}  # by id; the next to go first
        self._texts: dict[bytes, tuple[bytes, int]] = {}  # of `given`, and how many have it

    @property
    def is_off(self) -> bool:
        return not self.most_bytes

    @property
    def n_kept(self) -> int:
        return len(self._kept)

    def keep(self, id: str, kept: Kept) -> None:
        """With all that it follows, or it would be there in vain: where they have no room together
        it isn't kept, and not before all others have made place for it."""
        if kept.frames_bytes > self.most_bytes * _FRAMES_RATIO:
            kept = replace(kept, frames=())
        talk = [kept, *(self._kept[one] for one in self._followed(kept.previous_id))]
        texts = {text for one in talk for text in one.given}
        if sum(one.own_bytes for one in talk) + sum(map(len, texts)) > self.most_bytes:
            return
        self._kept[id] = replace(kept, given=tuple(map(self._take, kept.given)))
        self.n_bytes += kept.own_bytes
        self._touch(id)
        while self.n_bytes > self.most_bytes:
            self._drop(next(iter(self._kept)))

    def find(self, id: str, owner: str) -> Kept | None:
        kept = self._kept.get(id)
        if kept is None or kept.owner != owner:
            return None
        self._touch(id)
        return kept

    def remove(self, id: str, owner: str) -> bool:
        """What follows it can be asked for, but not be followed any more: a part of that talk is
        gone. False: it isn't there."""
        if self.find(id, owner) is None:
            return False
        self._drop(id)
        return True

    def conversation(self, id: str, owner: str) -> list[Kept]:
        """Up to this response, the first one first. Raises Lost for one that isn't there."""
        hint = "send the conversation as input: "
        if self.is_off:
            hint += "no response is kept here, as response_memory is 0"
        else:
            hint += f"the latest are kept, of {format_bytes(self.most_bytes)} (response_memory)"
        if self.find(id, owner) is None:
            raise Lost(id, hint)
        found = [self._kept[one] for one in self._followed(id)]
        if (missing := found[-1].previous_id) is not None:
            raise Lost(missing, hint)
        return found[::-1]

    def _touch(self, id: str | None) -> None:
        for one in list(self._followed(id)):
            self._kept[one] = self._kept.pop(one)

    def _followed(self, id: str | None) -> Iterator[str]:
        """Itself, and all that it follows, as far as that is here."""
        while id is not None and (kept := self._kept.get(id)):
            yield id
            id = kept.previous_id

    def _drop(self, id: str) -> None:
        kept = self._kept.pop(id)
        self.n_bytes -= kept.own_bytes
        for text in kept.given:
            own, n = self._texts.pop(text)
            if n > 1:
                self._texts[own] = own, n - 1
            else:
                self.n_bytes -= len(own)

    def _take(self, text: bytes) -> bytes:
        own, n = self._texts.get(text, (text, 0))
        self._texts[own] = own, n + 1
        self.n_bytes += 0 if n else len(own)
        return own
