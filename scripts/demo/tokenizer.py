"""A SentencePiece-style vocabulary: trained here, encoded here as llama.cpp encodes it.

llama.cpp's "llama" tokenizer splits a text into characters and then joins, again and again, the
two neighbours whose joined text is the piece with the best score; what is no piece at the end
falls back to bytes. A blank is written as U+2581, and no blank is put before the text. A piece is
letters or signs, never both, with that mark at most in front: so no piece reaches over the borders
that ``_WORD`` draws, and words can be encoded (and remembered) one by one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

BLANK = "\u2581"
BOS, EOS = 1, 2
FIRST_BYTE = 3
SPECIALS = ("<|im_start|>", "<|im_end|>")
IM_START, IM_END = FIRST_BYTE + 256, FIRST_BYTE + 257
FIRST_PIECE = IM_END + 1

_WORD = re.compile(f"{BLANK}?[A-Za-z]+|{BLANK}?[^A-Za-z{BLANK}]+|{BLANK}")
_SPECIAL = re.compile("(" + "|".join(map(re.escape, SPECIALS)) + ")")
_LETTERS = (BLANK, *map(chr, range(33, 127)))


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Pieces in the order of their ids; the earlier of two wins, so a score is minus its rank."""

    pieces: tuple[str, ...]
    _ranks: dict[str, int] = field(init=False, repr=False, compare=False)
    _words: dict[str, tuple[int, ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        ranks = {piece: rank for rank, piece in enumerate(self.pieces)}
        object.__setattr__(self, "_ranks", ranks)

    def __len__(self) -> int:
        return FIRST_PIECE + len(self.pieces)

    def texts(self) -> list[str]:
        """Every token's text, in the order of the ids."""
        byte_tokens = (f"<0x{byte:02X}>" for byte in range(256))
        return ["<unk>", "<s>", "</s>", *byte_tokens, *SPECIALS, *self.pieces]

    def encode(self, text: str) -> list[int]:
        """The ids of plain text; a special token's name in it is text like any other."""
        ids: list[int] = []
        for word in _WORD.findall(text.replace(" ", BLANK)):
            if word not in self._words:
                self._words[word] = tuple(self._encode_word(word))
            ids.extend(self._words[word])
        return ids

    def encode_chat(self, text: str) -> list[int]:
        """The ids of a rendered conversation, where the specials' names are tokens."""
        ids: list[int] = []
        for part in _SPECIAL.split(text):
            if part in SPECIALS:
                ids.append(IM_START + SPECIALS.index(part))
            else:
                ids.extend(self.encode(part))
        return ids

    def _encode_word(self, word: str) -> Iterator[int]:
        for part in _joined(list(word), self._ranks):
            if part in self._ranks:
                yield FIRST_PIECE + self._ranks[part]
            else:
                yield from (FIRST_BYTE + byte for byte in part.encode())


def _joined(parts: list[str], ranks: dict[str, int]) -> list[str]:
    """The best pair first, the leftmost of equals, until no two neighbours make a piece."""
    while True:
        joins = [
            (ranks[left + right], at)
            for at, (left, right) in enumerate(pairwise(parts))
            if left + right in ranks
        ]
        if not joins:
            return parts
        _, at = min(joins)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def train(texts: Iterable[str], n_tokens: int) -> Vocabulary:
    """Byte pair encoding: printable ASCII, then the pair of neighbours that is commonest."""
    counts = Counter(word for text in texts for word in _WORD.findall(text.replace(" ", BLANK)))
    words = [(list(word), count) for word, count in counts.items() if set(word) <= set(_LETTERS)]
    pieces = list(_LETTERS)
    while FIRST_PIECE + len(pieces) < n_tokens:
        pairs: Counter[tuple[str, str]] = Counter()
        for parts, count in words:
            for pair in pairwise(parts):
                pairs[pair] += count
        left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
        for parts, _ in words:
            _join(parts, left, right)
        words = [(parts, count) for parts, count in words if len(parts) > 1]
        if left + right not in pieces:
            pieces.append(left + right)
    return Vocabulary(tuple(pieces))


def _join(parts: list[str], left: str, right: str) -> None:
    at = 0
    while at < len(parts) - 1:
        if parts[at] == left and parts[at + 1] == right:
            parts[at : at + 2] = [left + right]
        at += 1
