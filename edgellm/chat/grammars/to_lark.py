"""GBNF to llguidance's Lark, exactly.

llguidance matches lexemes greedily and never takes a character back. So a part of a grammar may be
one lexeme only if the next character tells where it ends: none that can follow it (its FOLLOW set,
as in LL(1)) may go on inside it. And where lexemes are to be chosen from, the next character must
decide. Where that holds, lexemes are as long as can be, and a mask takes 0.03 ms. A grammar in
which it fails somewhere is written letter by letter: as exact, but a mask takes milliseconds.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgellm.chat.grammars.facts import Facts, Undecided
from edgellm.chat.grammars.gbnf import Either, Node, Ref, Repeat, Sequence, Set, parse


def to_lark(text: str) -> str:
    """Raises BadRequest."""
    rules = parse(text)
    names = {rule: f"g_{i}" for i, rule in enumerate(rules)}
    try:
        facts = Facts(rules)
        bodies = {rule: _Long(names, facts).body(node, rule) for rule, node in rules.items()}
    except Undecided:
        bodies = {rule: _body(node, names, _character) for rule, node in rules.items()}
    lines = [f"{names[rule]}: {body}" for rule, body in bodies.items()]
    return "\n".join([f"start: {names['root']}", *lines])


@dataclass(frozen=True, slots=True)
class _Long:
    """Writes rules with lexemes as long as can be. Raises Undecided."""

    names: Mapping[str, str]
    facts: Facts

    def body(self, node: Node, rule: str) -> str:
        return self._written(node, self.facts.follow[rule])

    def _written(self, node: Node, after: int) -> str:
        if self.facts.is_lexeme(node, after):
            return _lexeme(self.facts.inlined(node))
        match node:
            case Ref(rule):
                return self.names[rule]
            case Set():
                return _character(node)
            case Sequence(parts):
                return " ".join(self._each(parts, after)) or '""'
            case Either(options):
                self.facts.check_choice(options, after)
                return f"({' | '.join(self._written(one, after) for one in options)})"
            case Repeat(part, least, most):
                self.facts.check_repeat(node, after)
                inside = self._written(part, self.facts.after_part(node, after))
                return f"({inside}){_counts(least, most)}"

    def _each(self, parts: tuple[Node, ...], after: int) -> list[str]:
        written = []
        for part in reversed(parts):
            written.append(self._written(part, after))
            after = self.facts.first(part) | (after if self.facts.nullable(part) else 0)
        return written[::-1]


def _body(node: Node, names: Mapping[str, str], character: Callable[[Set], str]) -> str:
    match node:
        case Ref(rule):
            return names[rule]
        case Set():
            return character(node)
        case Sequence(parts):
            return " ".join(_body(part, names, character) for part in parts) or '""'
        case Either(options):
            return f"({' | '.join(_body(one, names, character) for one in options)})"
        case Repeat(part, least, most):
            return f"({_body(part, names, character)}){_counts(least, most)}"


def _lexeme(node: Node) -> str:
    text = _literal(node)
    return f"/{_regex(node)}/" if text is None else json.dumps(text, ensure_ascii=False)


def _literal(node: Node) -> str | None:
    match node:
        case Set(((first, last),)) if first == last:
            return chr(first)
        case Sequence(parts):
            texts = [_literal(part) for part in parts]
            return None if None in texts else "".join(text or "" for text in texts)
        case _:
            return None


def _regex(node: Node) -> str:
    match node:
        case Set():
            return _class(node)
        case Sequence(parts):
            return "".join(map(_regex, parts))
        case Either(options):
            return f"(?:{'|'.join(map(_regex, options))})"
        case Repeat(part, least, most):
            return f"(?:{_regex(part)}){_counts(least, most)}"
        case Ref():
            raise AssertionError("a lexeme's rules are inlined")


def _character(node: Set) -> str:
    return f"/{_class(node)}/"


def _class(node: Set) -> str:
    return f"[{''.join(map(_range, node.ranges))}]"


def _range(ends: tuple[int, int]) -> str:
    first, last = (f"\\x{{{end:X}}}" for end in ends)
    return first if first == last else f"{first}-{last}"


def _counts(least: int, most: int | None) -> str:
    match least, most:
        case 0, None:
            return "*"
        case 1, None:
            return "+"
        case 0, 1:
            return "?"
        case _, None:
            return f"{{{least},}}"
        case _:
            return f"{{{least},{most}}}"
