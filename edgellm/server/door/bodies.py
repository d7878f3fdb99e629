"""How much memory the bodies of all requests together may have.

One body may be as large as Access says, and many of that size at once are more than a small
machine has. So every byte that comes counts until its request has ended: till then its text or
its pictures are held, here or by the model's process. Large bodies don't get the last quarter:
when they have filled their part, the small requests that nearly all are still come in. What the
kernel and h11 hold of a connection comes on top; connections.py bounds that.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from edgellm.server.envelope import HTTPProblem
from edgellm.units import KIB, MIB, format_bytes, parse_bytes

_SMALL_BYTES = 64 * KIB
_OF_MEMORY_RATIO = 1 / 64  # a body is there up to four times while it is taken apart
_LEAST_USUAL_BYTES, _MOST_USUAL_BYTES = 32 * MIB, 512 * MIB


def usual_bytes(memory_bytes: int) -> int:
    """For all bodies, on a machine with so much memory, or in a container that may have so much."""
    share = int(memory_bytes * _OF_MEMORY_RATIO)
    return min(max(share, _LEAST_USUAL_BYTES), _MOST_USUAL_BYTES)


def for_large_bytes(most_bytes: int) -> int:
    """Of all that there is; so much is also the most that a single body can ever get."""
    return most_bytes - most_bytes // 4


def bodies_bytes(setting: str | None, memory_bytes: int) -> int:
    """As it was set (config.py has looked at it), or as it is usual."""
    return usual_bytes(memory_bytes) if setting is None else parse_bytes(setting)


class Bodies:
    """What is held at this moment."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.held_bytes = most_bytes, 0

    @contextmanager
    def hold(self) -> Iterator["Hold"]:
        """One request's part. All of it is given back at the end."""
        mine = Hold(self)
        try:
            yield mine
        finally:
            mine.give_back()

    def check(self, own_bytes: int, more_bytes: int) -> None:
        """Raises HTTPProblem: there is no room for so much more of a body of `own_bytes`."""
        is_small = own_bytes <= _SMALL_BYTES
        most_bytes = self.most_bytes if is_small else for_large_bytes(self.most_bytes)
        if self.held_bytes + more_bytes > most_bytes:
            raise HTTPProblem(
                503,
                f"the requests that are being answered hold {format_bytes(self.held_bytes)}, and "
                f"{format_bytes(own_bytes)} more are too many; come back later",
                code="bodies_full",
            )


class Hold:
    __slots__ = ("_bodies", "n_bytes")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies, self.n_bytes = bodies, 0

    def expect(self, n_bytes: int) -> None:
        """What the head announces: a body that can't be taken need not come first."""
        self._bodies.check(n_bytes, n_bytes)

    def add(self, n_bytes: int) -> None:
        """Raises HTTPProblem. An end without bytes asks for no room."""
        if not n_bytes:
            return
        self._bodies.check(self.n_bytes + n_bytes, n_bytes)
        self.n_bytes += n_bytes
        self._bodies.held_bytes += n_bytes

    def give_back(self) -> None:
        self._bodies.held_bytes -= self.n_bytes
        self.n_bytes = 0

    def hand_on(self) -> "Hold":
        """All that it counts, to who needs it longer than this request, and then gives it back."""
        other = Hold(self._bodies)
        other.n_bytes, self.n_bytes = self.n_bytes, 0
        return other
