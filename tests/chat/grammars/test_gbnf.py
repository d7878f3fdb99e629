import re

import pytest

from edgellm.chat.grammars import gbnf
from edgellm.chat.grammars.gbnf import Either, Ref, Repeat, Sequence, Set, parse
from edgellm.chat.grammars.to_lark import to_lark
from edgellm.errors import BadRequest

A, B = Set(((97, 97),)), Set(((98, 98),))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ('"a"', A),
        ('"ab"', Sequence((A, B))),
        ('""', Sequence(())),
        ('"a" | "b"', Either((A, B))),
        ('("a" | "b")*', Repeat(Either((A, B)), 0, None)),
        ('"a"+ "b"?', Sequence((Repeat(A, 1, None), Repeat(B, 0, 1)))),
        ('"a"{2} "b"{2,}', Sequence((Repeat(A, 2, 2), Repeat(B, 2, None)))),
        ('"a"{ 2 , 3 }', Repeat(A, 2, 3)),
        ("[a-c]", Set(((97, 99),))),
        ("[abx-z]", Set(((97, 98), (120, 122)))),
        ("[^a]", Set(((0, 96), (98, gbnf.MAX_CODE_POINT)))),
        ("[a-]", Set(((45, 45), (97, 97)))),
        ("[\\]\\\\]", Set(((92, 93),))),
        ('"\\x41\\u00e9"', Sequence((Set(((65, 65),)), Set(((0xE9, 0xE9),))))),
        ('"\\U0001F600\\n"', Sequence((Set(((0x1F600, 0x1F600),)), Set(((10, 10),))))),
        (".", Set(((0, gbnf.MAX_CODE_POINT),))),
        ("root", Ref("root")),
        ('"a" # a comment', A),
        ('(\n  "a" # here\n  | "b"\n)', Either((A, B))),
        ('"a" |\n  "b"', Either((A, B))),
    ],
)  # fmt: skip
def test_a_rule_is_read(text, tree):
    assert parse(f"root ::= {text}\n") == {"root": tree}


def test_rules_stand_on_lines_of_their_own():
    rules = parse('# numbers\nroot ::= item\n\nitem ::= "a"\n')
    assert rules == {"root": Ref("item"), "item": A}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no rule 'root'"),
        ('item ::= "a"', "no rule 'root'"),
        ("root ::= other", "no rule 'other'"),
        ('root = "a"', "line 1: ::= is missing"),
        ('root ::= "a', "line 1: the text ends"),
        ('root ::= "a"\nitem ::= (', "line 2: a ) is missing"),
        ('root ::= "\\q"', "an escape"),
        ('root ::= "\\ud800"', "is no character"),
        ("root ::= []", "no characters"),
        ("root ::= <think>", "tokens by name"),
        ("root ::= !<[1]>", "tokens by name"),
        ('root ::= "a"{3,2}', "bounds"),
        ('root ::= "a"{2001}', "bounds from 0 to 2000"),
        ('root ::= (("a"{200}){200}){200}', "8000000 characters and names"),
        ("root ::= " + "(" * 65 + '"a"' + ")" * 65, "deeper than 64"),
        ('root ::= "a" )', "')' is not expected"),
        ("root ::= *", "'*' is not expected"),
        ("?", "a rule's name is missing"),
    ],
)
def test_what_is_no_grammar_is_refused_with_its_line(text, words):
    with pytest.raises(BadRequest) as raised:
        parse(text)
    assert words in str(raised.value)
    assert str(raised.value).startswith("grammar: ")


LEXEME = re.compile(r'/((?:[^/\\]|\\.)*)/|"((?:[^"\\]|\\.)+)"')


@pytest.mark.parametrize(
    ("text", "is_long"),
    [
        ('root ::= "abc"', True),
        ('root ::= ("true" | "false") ","', True),
        ('root ::= item ("," item)*\nitem ::= [a-z]+', True),
        ('root ::= "(" root ")" | [0-9]+', True),
        ('root ::= "a"* "ab"', True),  # one automaton knows the whole of it
        ('root ::= list "ab"\nlist ::= "a" list | ""', False),
        ('root ::= x x\nx ::= "a"+ | "(" x ")"', False),
    ],
)
def test_lexemes_are_long_where_the_next_character_decides(text, is_long):
    found = LEXEME.findall(to_lark(text))
    regexes, literals = [one for one, _ in found if one], [one for _, one in found if one]
    long = [one for one in regexes if not re.fullmatch(r"\[[^]]*\]", one)]
    long += [one for one in literals if len(one) > 1]
    assert bool(long) is is_long


def test_work_on_a_grammar_is_bounded():
    rules = "\n".join(f"r{i} ::= r{i + 1} | [a-z]{{0,90}} r{i + 1}" for i in range(200))
    lark = to_lark(f'root ::= r0\n{rules}\nr200 ::= "x"')
    assert lark.count("\n") == 202
