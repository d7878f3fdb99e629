"""GBNF, llama.cpp's grammar language, read into a tree (llama.cpp: grammars/README.md).

    root ::= ("- " item)+      # rules, literals, groups, repetition
    item ::= [^\\n]+ "\\n"

Raises BadRequest with the line. Not served: `<think>` and `<[1000]>`, a token by its name or id.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

from edgellm.errors import BadRequest

MAX_CODE_POINT = 0x10FFFF
MAX_DEPTH = 64  # of groups in one another
MAX_REPEATS = 2000  # llama.cpp's
MAX_SIZE = 20_000  # of all rules together: characters and names, repetitions written out

Ranges: TypeAlias = tuple[tuple[int, int], ...]  # of code points, both ends included


@dataclass(frozen=True, slots=True)
class Set:
    """One character of these."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Ref:
    rule: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other. Of none: the empty text."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Either:
    options: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Repeat:
    part: "Node"
    least: int
    most: int | None


Node: TypeAlias = Set | Ref | Sequence | Either | Repeat
Rules: TypeAlias = dict[str, Node]

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_ESCAPE = re.compile(r'\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([nrt"\\\[\]]))')
_COUNTS = re.compile(r"\{\s*(\d+)\s*(,?)\s*(\d*)\s*\}")
_LETTERS = {"n": "\n", "r": "\r", "t": "\t"}
_OPERATORS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def parse(text: str) -> Rules:
    """All rules by their names; `root` is among them, and so is every rule that one names."""
    rules = _Parser(text).rules()
    if (size := sum(map(size_of, rules.values()))) > MAX_SIZE:
        raise BadRequest(
            f"grammar: with its repetitions written out it has {size} characters and names; "
            f"{MAX_SIZE} is the limit",
            param="grammar",
        )
    for name in ("root", *(ref for node in rules.values() for ref in refs(node))):
        if name not in rules:
            raise BadRequest(f"grammar: there is no rule {name[:40]!r}", param="grammar")
    return rules


def refs(node: Node) -> set[str]:
    match node:
        case Ref(rule):
            return {rule}
        case Sequence(parts) | Either(parts):
            return set().union(*map(refs, parts))
        case Repeat(part):
            return refs(part)
        case Set():
            return set()


def size_of(node: Node) -> int:
    """Characters and names, repetitions written out."""
    match node:
        case Sequence(parts) | Either(parts):
            return sum(map(size_of, parts))
        case Repeat(part, least, most):
            return size_of(part) * (most or max(least, 1))
        case Set() | Ref():
            return 1


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0

    def rules(self) -> Rules:
        found: Rules = {}
        self._pass(_SPACE_AND_LINES)
        while self._at < len(self._text):
            name = self._take(_NAME, "a rule's name")
            self._pass(_SPACE)
            if not self._accept("::="):
                raise self._error("::= is missing")
            self._pass(_SPACE_AND_LINES)
            found[name] = self._either(nested=False)
            if self._at < len(self._text) and self._text[self._at] not in "\r\n":
                raise self._error(f"{self._text[self._at]!r} is not expected")
            self._pass(_SPACE_AND_LINES)
        return found

    def _either(self, *, nested: bool) -> Node:
        options = [self._sequence(nested=nested)]
        while self._accept("|"):
            self._pass(_SPACE_AND_LINES)
            options.append(self._sequence(nested=nested))
        return options[0] if len(options) == 1 else Either(tuple(options))

    def _sequence(self, *, nested: bool) -> Node:
        space = _SPACE_AND_LINES if nested else _SPACE
        parts: list[Node] = []
        self._pass(space)
        while (part := self._part()) is not None:
            self._pass(space)
            parts.append(self._repeated(part))
            self._pass(space)
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _part(self) -> Node | None:
        match self._text[self._at : self._at + 1]:
            case '"':
                return self._literal()
            case "[":
                return self._set()
            case "(":
                return self._group()
            case ".":
                self._at += 1
                return Set(((0, MAX_CODE_POINT),))
            case "<" | "!":
                raise self._error("tokens by name or id are not served, only their text")
            case character if _NAME.match(character):
                return Ref(self._take(_NAME, "a name"))
            case _:
                return None

    def _group(self) -> Node:
        self._at, self._depth = self._at + 1, self._depth + 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"groups nest deeper than {MAX_DEPTH}")
        self._pass(_SPACE_AND_LINES)
        inside = self._either(nested=True)
        if not self._accept(")"):
            raise self._error("a ) is missing")
        self._depth -= 1
        return inside

    def _literal(self) -> Node:
        self._at += 1
        characters = []
        while not self._accept('"'):
            code = self._character()
            characters.append(Set(((code, code),)))
        return characters[0] if len(characters) == 1 else Sequence(tuple(characters))

    def _set(self) -> Node:
        self._at += 1
        is_negated = self._accept("^")
        ranges = []
        while not self._accept("]"):
            first = last = self._character()
            if self._text[self._at : self._at + 1] == "-" and self._text[self._at + 1 :][:1] != "]":
                self._at += 1
                last = self._character()
            ranges.append((min(first, last), max(first, last)))
        found = _complement(_merged(ranges)) if is_negated else _merged(ranges)
        if not found:
            raise self._error("a set of no characters")
        return Set(found)

    def _character(self) -> int:
        if self._at >= len(self._text):
            raise self._error("the text ends inside a literal")
        if self._text[self._at] != "\\":
            self._at += 1
            return ord(self._text[self._at - 1])
        found = _ESCAPE.match(self._text, self._at)
        if not found:
            raise self._error("an escape that there is not")
        self._at = found.end()
        digits = found[1] or found[2] or found[3]
        code = int(digits, 16) if digits else ord(_LETTERS.get(found[4], found[4]))
        if code > MAX_CODE_POINT or 0xD800 <= code < 0xE000:
            raise self._error(f"{code:#x} is no character")
        return code

    def _repeated(self, part: Node) -> Node:
        if counts := _COUNTS.match(self._text, self._at):
            self._at = counts.end()
            least = int(counts[1])
            most = int(counts[3]) if counts[3] else None if counts[2] else least
            if max(least, most or 0) > MAX_REPEATS or (most is not None and most < least):
                raise self._error(f"repetition has bounds from 0 to {MAX_REPEATS}, in their order")
            return Repeat(part, least, most)
        for operator, (least, most) in _OPERATORS.items():
            if self._accept(operator):
                return Repeat(part, least, most)
        return part

    # ── words ────────────────────────────────────────────────────────────────

    def _pass(self, pattern: re.Pattern[str]) -> None:
        if found := pattern.match(self._text, self._at):
            self._at = found.end()

    def _accept(self, word: str) -> bool:
        found = self._text.startswith(word, self._at)
        self._at += len(word) if found else 0
        return found

    def _take(self, pattern: re.Pattern[str], what: str) -> str:
        found = pattern.match(self._text, self._at)
        if not found:
            raise self._error(f"{what} is missing")
        self._at = found.end()
        return found[0]

    def _error(self, words: str) -> BadRequest:
        line = self._text.count("\n", 0, self._at) + 1
        return BadRequest(f"grammar: line {line}: {words}", param="grammar")


def _merged(ranges: list[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def _complement(ranges: Ranges) -> Ranges:
    found, begin = [], 0
    for first, last in ranges:
        if first > begin:
            found.append((begin, first - 1))
        begin = last + 1
    return (*found, (begin, MAX_CODE_POINT)) if begin <= MAX_CODE_POINT else tuple(found)
