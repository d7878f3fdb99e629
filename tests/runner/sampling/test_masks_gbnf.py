"""A GBNF grammar and what it is converted to are the same language."""

import itertools

import pytest
from mask_fakes import PLAIN

from edgellm.chat.grammars.gbnf import Either, Ref, Repeat, Sequence, Set, parse
from edgellm.chat.messages import GBNF


def ends(rules, node, text, at):
    """Where a text that begins at `at` may end: GBNF's meaning, written out."""
    match node:
        case Set(ranges):
            here = at < len(text) and any(a <= ord(text[at]) <= b for a, b in ranges)
            return {at + 1} if here else set()
        case Ref(rule):
            return ends(rules, rules[rule], text, at)
        case Sequence(parts):
            found = {at}
            for part in parts:
                found = {end for begin in found for end in ends(rules, part, text, begin)}
            return found
        case Either(options):
            return {end for option in options for end in ends(rules, option, text, at)}
        case Repeat(part, least, most):
            found, reached = {at} if least == 0 else set(), {at}
            for n in range(1, (most or len(text) + least) + 1):
                reached = {end for begin in reached for end in ends(rules, part, text, begin)}
                found |= reached if n >= least else set()
            return found


DIFFICULT = [
    'root ::= ("a" | "ab") "bc"',
    'root ::= x x\nx ::= "a"+',
    'root ::= "a"* "ab"',
    "root ::= [a-b]* [b]",
    'root ::= (a | b)*\na ::= "ab"\nb ::= "a" "c"?',
    'root ::= "a" root "b" | "c"?',
    'root ::= ws "a" ws\nws ::= "b"*',
    'root ::= ("a" "b"?){2,3} "c"',
    'root ::= (("a"|"b")? "c")*',
    'root ::= "a"? "b"? "a"?',
    'root ::= [^a] "a" | "b" "c"',
    'root ::= x "," x | x\nx ::= [ab]+ "c"?',
    'root ::= ("aa" | "a")* "b"',
    'root ::= ("" | "a") ("b" | "")',
    'root ::= item ("," item)*\nitem ::= [a-c]+',
    'root ::= ("ab"){0,2} "a"',
    'root ::= "é"+ "a"?',
    'root ::= .{1,3} "a"',
    'root ::= "a"{2,} "b"{0,1}',
]


@pytest.mark.parametrize("grammar", DIFFICULT)
def test_a_converted_grammar_has_exactly_its_language(masks, grammar):
    rules = parse(grammar)
    for n in range(6):
        for letters in itertools.product("abc,", repeat=n):
            text = "".join(letters)
            mask = masks.compile(GBNF(grammar))
            allowed = PLAIN.allows(mask, text) and PLAIN.may_end(mask)
            assert allowed is (len(text) in ends(rules, rules["root"], text, 0)), text
