"""What must be known of a grammar to write it in long lexemes: see to_lark.py.

Sets of characters are ints here: the grammar's own sets cut all characters into classes, each of
them a bit. All work is bounded; what is beyond counts as undecided.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from edgellm.chat.grammars.gbnf import (
    Either,
    Node,
    Ranges,
    Ref,
    Repeat,
    Rules,
    Sequence,
    Set,
    refs,
    size_of,
)

_MAX_ROUNDS = 64  # to a fixed point
_MAX_POSITIONS = 256  # characters of a lexeme, repetitions written out
_MAX_DEPTH = 128  # of nodes in nodes, in a lexeme
_MAX_WORK = 100_000  # steps of all automata together; a few hundred milliseconds


class Undecided(Exception):
    """The next character doesn't decide, or finding out takes too long."""


class Facts:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._bounds = sorted({bound for node in rules.values() for bound in _bounds(node)})
        self._nullable: dict[str, bool] = dict.fromkeys(rules, False)
        self._first: dict[str, int] = dict.fromkeys(rules, 0)
        self.follow: dict[str, int] = dict.fromkeys(rules, 0)
        self._inlined: dict[str, Node] = {}
        self._work = 0
        self._settle(self._note_beginnings)
        self._settle(self._note_follows)
        self._note_inlined()

    # ── sets ─────────────────────────────────────────────────────────────────

    def nullable(self, node: Node) -> bool:
        match node:
            case Set():
                return False
            case Ref(rule):
                return self._nullable[rule]
            case Sequence(parts):
                return all(map(self.nullable, parts))
            case Either(options):
                return any(map(self.nullable, options))
            case Repeat(part, least):
                return least == 0 or self.nullable(part)

    def first(self, node: Node) -> int:
        match node:
            case Set(ranges):
                return self._mask(ranges)
            case Ref(rule):
                return self._first[rule]
            case Sequence(parts):
                found = 0
                for part in parts:
                    found |= self.first(part)
                    if not self.nullable(part):
                        break
                return found
            case Either(options):
                return _union(map(self.first, options))
            case Repeat(part):
                return self.first(part)

    def check_choice(self, options: Iterable[Node], after: int) -> None:
        """Raises Undecided unless the next character chooses."""
        seen = 0
        for option in options:
            begins = self.first(option) | (after if self.nullable(option) else 0)
            if seen & begins:
                raise Undecided
            seen |= begins

    def check_repeat(self, repeat: Repeat, after: int) -> None:
        """Raises Undecided unless the next character tells whether another one comes."""
        is_counted = repeat.least == repeat.most
        if self.nullable(repeat.part) or (not is_counted and self.first(repeat.part) & after):
            raise Undecided

    def after_part(self, repeat: Repeat, after: int) -> int:
        """What can follow one of the repeated: another one, if there may be several."""
        return after | (0 if repeat.most == 1 else self.first(repeat.part))

    # ── lexemes ──────────────────────────────────────────────────────────────

    def inlined(self, node: Node) -> Node:
        """With the rules' own bodies instead of their names."""
        match node:
            case Set():
                return node
            case Ref(rule):
                return self._inlined[rule]
            case Sequence(parts):
                return Sequence(tuple(map(self.inlined, parts)))
            case Either(options):
                return Either(tuple(map(self.inlined, options)))
            case Repeat(part, least, most):
                return Repeat(self.inlined(part), least, most)

    def is_lexeme(self, node: Node, after: int) -> bool:
        """Whether it is one automaton, and none of its ends may go on with what follows."""
        if not refs(node) <= self._inlined.keys():
            return False
        body = self.inlined(node)
        if (size := size_of(body)) > _MAX_POSITIONS:
            return False
        self._count(size)
        automaton = _Automaton(self._mask)
        nullable, begins, ends = automaton.add(body)
        start = frozenset(begins)
        if nullable and automaton.goes_on(start) & after:
            return False
        seen, waiting = {start}, [start]
        while waiting:
            for reached in automaton.steps(waiting.pop()):
                self._count(len(reached))
                if reached & ends and automaton.goes_on(automaton.next(reached)) & after:
                    return False
                following = automaton.next(reached)
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)
        return True

    # ── finding them ─────────────────────────────────────────────────────────

    def _note_beginnings(self) -> bool:
        changed = False
        for rule, node in self._rules.items():
            nullable, first = self.nullable(node), self.first(node)
            changed |= (nullable, first) != (self._nullable[rule], self._first[rule])
            self._nullable[rule], self._first[rule] = nullable, first
        return changed

    def _note_follows(self) -> bool:
        before = dict(self.follow)
        for rule, node in self._rules.items():
            self._note_after(node, self.follow[rule])
        return before != self.follow

    def _note_after(self, node: Node, after: int) -> None:
        match node:
            case Ref(rule):
                self.follow[rule] |= after
            case Sequence(parts):
                for part in reversed(parts):
                    self._note_after(part, after)
                    after = self.first(part) | (after if self.nullable(part) else 0)
            case Either(options):
                for option in options:
                    self._note_after(option, after)
            case Repeat(part):
                self._note_after(part, self.after_part(node, after))

    def _note_inlined(self) -> None:
        """Rules that reach no rule twice, and stay small: those that may be in a lexeme."""
        for _ in range(_MAX_ROUNDS):
            ready = [
                rule
                for rule, node in self._rules.items()
                if rule not in self._inlined and refs(node) <= self._inlined.keys()
            ]
            bodies = {rule: self.inlined(self._rules[rule]) for rule in ready}
            small = {
                rule: body
                for rule, body in bodies.items()
                if size_of(body) <= _MAX_POSITIONS and _depth(body) <= _MAX_DEPTH
            }
            if not small:
                return
            self._inlined |= small

    def _settle(self, note: Callable[[], bool]) -> None:
        for _ in range(_MAX_ROUNDS):
            if not note():
                return
        raise Undecided

    def _mask(self, ranges: Ranges) -> int:
        mask = 0
        for first, last in ranges:
            begin, end = bisect_left(self._bounds, first), bisect_left(self._bounds, last + 1)
            mask |= (1 << end) - (1 << begin)
        return mask

    def _count(self, steps: int) -> None:
        self._work += steps
        if self._work > _MAX_WORK:
            raise Undecided


class _Automaton:
    """Glushkov's: a state is the set of the expression's characters that may be read next."""

    def __init__(self, mask_of: Callable[[Ranges], int]) -> None:
        self._mask_of = mask_of
        self._masks: list[int] = []  # of each position
        self._next: list[set[int]] = []

    def add(self, node: Node) -> tuple[bool, set[int], set[int]]:
        """Whether it may be empty, where it begins and where it ends."""
        match node:
            case Set(ranges):
                self._masks.append(self._mask_of(ranges))
                self._next.append(set())
                return False, {len(self._masks) - 1}, {len(self._masks) - 1}
            case Sequence(parts):
                return self._chain(map(self.add, parts))
            case Either(options):
                found = [self.add(option) for option in options]
                begins = set[int]().union(*(begins for _, begins, _ in found))
                ends = set[int]().union(*(ends for _, _, ends in found))
                return any(nullable for nullable, _, _ in found), begins, ends
            case Repeat(part, least, most):
                return self._repeated(part, least, most)
            case Ref():
                raise AssertionError("a lexeme's rules are inlined")

    def next(self, reached: Iterable[int]) -> frozenset[int]:
        return frozenset[int]().union(*(self._next[position] for position in reached))

    def goes_on(self, state: Iterable[int]) -> int:
        return _union(self._masks[position] for position in state)

    def steps(self, state: frozenset[int]) -> Iterator[frozenset[int]]:
        """The positions that one character reaches, for each class of characters."""
        cells: list[tuple[int, frozenset[int]]] = []
        for position in state:
            mask = self._masks[position]
            split: list[tuple[int, frozenset[int]]] = []
            for cell, members in cells:
                split += [(cell & mask, members | {position}), (cell & ~mask, members)]
                mask &= ~cell
            cells = [(cell, members) for cell, members in split if cell]
            if mask:
                cells.append((mask, frozenset({position})))
        return (members for _, members in cells)

    def _chain(
        self, parts: Iterable[tuple[bool, set[int], set[int]]]
    ) -> tuple[bool, set[int], set[int]]:
        nullable, begins, ends = True, set[int](), set[int]()
        for part_nullable, part_begins, part_ends in parts:
            for position in ends:
                self._next[position] |= part_begins
            begins |= part_begins if nullable else set()
            ends = part_ends | (ends if part_nullable else set())
            nullable = nullable and part_nullable
        return nullable, begins, ends

    def _repeated(
        self, part: Node, least: int, most: int | None
    ) -> tuple[bool, set[int], set[int]]:
        copies = [self.add(part) for _ in range(most or max(least, 1))]
        if most is None:
            _, begins, ends = copies[-1]
            for position in ends:
                self._next[position] |= begins
        optional = [(nullable or i >= least, b, e) for i, (nullable, b, e) in enumerate(copies)]
        return self._chain(optional) if most != 0 else (True, set(), set())


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union


def _bounds(node: Node) -> Iterator[int]:
    """Where a class of characters begins."""
    match node:
        case Set(ranges):
            for first, last in ranges:
                yield from (first, last + 1)
        case Sequence(parts) | Either(parts):
            for part in parts:
                yield from _bounds(part)
        case Repeat(part):
            yield from _bounds(part)
        case Ref():
            pass


def _depth(node: Node) -> int:
    match node:
        case Sequence(parts) | Either(parts):
            return 1 + max(map(_depth, parts), default=0)
        case Repeat(part):
            return 1 + _depth(part)
        case _:
            return 1
