"""Pictures among a prompt's tokens. Pure.

A picture becomes rows: vectors that the model reads as it reads tokens, each with a cell. In a
sequence's `tokens` every row stands as a number below zero that its file's content gives, so that
a prefix with a picture in it is found, forked and kept as any other, and the same picture in the
next turn is the same tokens. The vectors themselves stay opaque here (llama/images.py).

Most pictures are cut wherever a prompt may be. Those that attend to themselves in both directions
are computed `at_once`; they, and those whose rows share positions, are shared `whole` or not.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from edgellm.errors import Overloaded

# Tokens are 32 bits wide wherever they are written down; -1 is nobody's (LLAMA_TOKEN_NULL).
_FIRST_ID, _N_IDS = -2, 0x7FFF_FFFF
_MAX_HELD_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class PictureRows:
    """One picture, or one tile of it: `vectors` is a row of floats for each of `ids`, `places` say
    where each row is, if that isn't one after the other."""

    ids: tuple[int, ...]
    vectors: Any
    n_bytes: int
    at_once: bool = False
    places: Any = None
    n_positions: int | None = None  # that it takes; None: as many as rows

    @property
    def whole(self) -> bool:
        return self.at_once or self.places is not None


Piece: TypeAlias = tuple[int, ...] | PictureRows  # tokens around a picture, or the picture
Looks: TypeAlias = tuple[tuple[Piece, ...], ...]  # each picture's pieces


@dataclass(frozen=True, slots=True)
class Placed:
    """Rows in a sequence, from its token `start` on."""

    start: int
    rows: PictureRows

    @property
    def end(self) -> int:
        return self.start + len(self.rows.ids)


def row_ids(digest: bytes, tile: int, n_rows: int) -> tuple[int, ...]:
    """From the content's digest, 31 bits each: equal for equal pictures only."""
    data = hashlib.shake_256(digest + tile.to_bytes(4, "little")).digest(4 * n_rows)
    words = (int.from_bytes(data[i : i + 4], "little") for i in range(0, 4 * n_rows, 4))
    return tuple(_FIRST_ID - word % _N_IDS for word in words)


def is_picture(token: int) -> bool:
    return token <= _FIRST_ID


def woven(texts: Sequence[list[int]], pictures: Sequence[Sequence[Piece]]) -> list[Piece]:
    """Text, picture, text … in their order: there is one text more than there are pictures."""
    pieces: list[Piece] = [tuple(texts[0])]
    for picture, text in zip(pictures, texts[1:], strict=True):
        pieces += [*picture, tuple(text)]
    return pieces


def placed(pieces: Iterable[Piece]) -> tuple[list[int], tuple[Placed, ...]]:
    """A prompt's tokens, and where its pictures are among them."""
    tokens: list[int] = []
    found = []
    for piece in pieces:
        if isinstance(piece, PictureRows):
            found.append(Placed(len(tokens), piece))
        tokens.extend(piece.ids if isinstance(piece, PictureRows) else piece)
    return tokens, tuple(found)


def whole_pictures(length: int, pictures: Sequence[Placed]) -> int:
    """As much of a prefix of `length` as ends in no picture that must be whole."""
    inside = (one for one in pictures if one.rows.whole and one.start < length < one.end)
    return min((one.start for one in inside), default=length)


def next_rows(
    at: int, end: int, budget: int, n_chunk: int | None, pictures: Sequence[Placed] = ()
) -> int:
    """How many of the tokens from `at` to `end` go into one step: all text, or all one picture's.

    With `n_chunk` up to its next multiple, or none: batch-invariant steps begin where they always
    do. A picture that is computed at once goes whole as soon as there is any budget: it is a call
    of its own, and will not get smaller.
    """
    near = next((one for one in pictures if at < one.end), None)
    inside = near is not None and near.start <= at
    if near and inside and near.rows.at_once:
        return near.end - at if budget > 0 else 0
    if near:
        end = min(end, near.end if inside else near.start)
    if n_chunk is None:
        return min(budget, end - at)
    n_rows = min(n_chunk - at % n_chunk, end - at)
    return n_rows if n_rows <= budget else 0


def saved(pictures: Iterable[Placed]) -> tuple[tuple[int, int], ...]:
    """Of each picture that takes fewer positions than rows: where it ends, and how many fewer."""
    found = []
    for one in pictures:
        n_positions = one.rows.n_positions
        if n_positions is not None and n_positions != len(one.rows.ids):
            found.append((one.end, len(one.rows.ids) - n_positions))
    return tuple(found)


def position(at: int, savings: Iterable[tuple[int, int]]) -> int:
    """llama.cpp's, of the token `at`."""
    return at - sum(n for end, n in savings if end <= at)


def check_held(waiting: Iterable[Placed]) -> None:
    """Raises Overloaded: what was seen and still waits for its turn fills the memory."""
    held = sum(one.rows.n_bytes for one in waiting)
    if held > _MAX_HELD_BYTES:
        raise Overloaded(
            f"pictures of {held} bytes are waiting to be read already", hint="come back later"
        )
