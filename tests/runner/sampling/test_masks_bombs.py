"""Structures made to explode."""

import contextlib
import json
import time

import pytest
from mask_fakes import PLAIN, Alphabet

from edgellm.chat.messages import GBNF, Choices, JSONSchema, Regex
from edgellm.errors import BadRequest
from edgellm.runner.sampling.masks import Masks

NESTED = '{"properties":{"a":' * 30 + "{}" + "}}" * 30
BOMBS = [
    GBNF("root ::= " + "(" * 30_000 + '"a"' + ")" * 30_000),
    GBNF("root ::= " + '("a"|"b")? ' * 50),
    GBNF('root ::= (("a"|"b")?){50}'),
    GBNF('root ::= ((("a"*)*)*)*'),
    GBNF('root ::= x x x x\nx ::= x x | "a" | ""'),
    GBNF("root ::= " + "".join(f"r{i} " for i in range(2000)) + "\n"
         + "\n".join(f"r{i} ::= [a-z]{{0,2000}}" for i in range(2000))),
    GBNF("root ::= " + "".join(f"r{i} " for i in range(9)) + "\n"
         + "\n".join(f"r{i} ::= [a-z]{{0,2000}}" for i in range(9))),
    GBNF('root ::= (("a"{0,2000}){0,2000}){0,2000}'),
    Regex("(a?){64}(a){64}"),
    Regex("((a{1,100}){1,100}){1,100}"),
    Regex("(?:(?:(?:a|b)*)*)*c{1,900}"),
    Regex("[^x]{1,5000}(.*a){20}"),
    JSONSchema(NESTED),
    JSONSchema(json.dumps({"enum": [f"{i}" * 9 for i in range(5000)]})),
    JSONSchema(json.dumps({"type": "string", "pattern": "(a|aa)+$" * 9})),
    JSONSchema(json.dumps({"type": "array", "items": {"enum": [*range(3000)]}})),
    JSONSchema(json.dumps({"type": "string", "minLength": 9_999, "maxLength": 99_999})),
    Choices(tuple(f"{i:04}" * 5 for i in range(1000))),
]  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: repr(bomb)[:40])
def test_a_bomb_is_refused_or_followed_within_two_seconds(masks, bomb):
    """Of this process's time: the machine may be busy with something else."""
    begun_s = time.process_time()
    with contextlib.suppress(BadRequest):
        mask = masks.compile(bomb)
        for _ in range(20):
            allowed = PLAIN.allowed(mask)
            if mask.complete or mask.fault or not allowed:
                break
            mask.accept(min(allowed - {PLAIN.end}, default=PLAIN.end))
    assert time.process_time() - begun_s < 2.0


def test_a_grammar_of_ever_more_readings_is_broken_off_before_its_masks_take_long():
    alphabet = Alphabet(words=tuple("a" * n for n in range(2, 12)))
    masks = Masks(alphabet.tokenizer, alphabet.n_vocab)
    doubled = "\n".join(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(20))
    mask = masks.compile(GBNF(f'root ::= r0\n{doubled}\nr20 ::= "a"?'))
    n_followed = 0
    while ord("a") in alphabet.allowed(mask):
        mask.accept(ord("a"))
        n_followed += 1
        assert n_followed < 40
    assert n_followed > 5
    assert "too complex to go on with" in mask.fault
    assert alphabet.may_end(mask)
