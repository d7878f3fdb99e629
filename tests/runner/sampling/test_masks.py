"""A structure's masks: what they allow, what they keep, what they take."""

import itertools

import numpy as np
import pytest
from mask_fakes import PLAIN

from edgellm.chat.messages import GBNF, Choices, JSONSchema, Lark, Regex, Stages, Watch
from edgellm.runner.pacing.mask_turns import sitting_out
from edgellm.runner.sampling.masks import Masks
from edgellm.runner.sequence import Sequence as Running


@pytest.mark.parametrize(
    ("structure", "good", "bad"),
    [
        (Regex("[0-9]{2,3}"), ["12", "123"], ["1", "1234", "x"]),
        (Choices(("yes", "no", "nope")), ["yes", "no", "nope"], ["y", "none"]),
        (JSONSchema('{"type": "integer", "minimum": 5}'), ["5", "17"], ["4", "a"]),
        (JSONSchema('{"enum": ["a", 1]}'), ['"a"', "1"], ['"b"']),
        (GBNF('root ::= "a"+ ("b" | "c")'), ["ab", "aac"], ["b", "aa", "abb"]),
        (Lark('start: "a" m_0', ("<x>",)), ["a<x>"], ["<x>"]),
        (Lark("start: u_0 m_1", ("</p>", "!")), ["ab</p>!", "</p>!", "</</p>!"], ["ab!", "</p>"]),
    ],
)
def test_a_structure_allows_its_texts_and_no_others(masks, structure, good, bad):
    for text in good:
        mask = masks.compile(structure)
        assert PLAIN.allows(mask, text), text
        assert PLAIN.may_end(mask), text
    for text in bad:
        mask = masks.compile(structure)
        assert not (PLAIN.allows(mask, text) and PLAIN.may_end(mask)), text


def test_a_mask_is_complete_when_nothing_can_follow(masks):
    mask = masks.compile(JSONSchema('{"type": "object", "properties": {}}'))
    assert not mask.complete
    schema = JSONSchema('{"type": "object", "additionalProperties": false}')
    mask = masks.compile(schema)
    assert PLAIN.allows(mask, "{}")
    assert mask.complete


def test_requests_of_one_structure_do_not_share_their_place(masks):
    first, second = masks.compile(Regex("ab")), masks.compile(Regex("ab"))
    assert PLAIN.allows(first, "a")
    assert PLAIN.allows(second, "ab")
    assert PLAIN.allowed(first) == {ord("b")}
    assert PLAIN.allowed(masks.compile(Regex("ab"))) == {ord("a")}


def test_trying_tokens_takes_all_or_none(masks):
    mask = masks.compile(Regex("abc"))
    assert not mask.accepts(PLAIN.ids("abx"))
    assert mask.accepts(PLAIN.ids("ab"))
    assert PLAIN.allowed(mask) == {ord("c")}
    mask.restart()
    assert PLAIN.allowed(mask) == {ord("a")}


@pytest.mark.parametrize(
    ("draft", "n"), [("abc", 3), ("abx", 2), ("xab", 0), ("abcd", 3), ("", 0), ("abc<end>", 4)]
)
def test_a_draft_is_known_to_fit_as_far_as_it_does(masks, draft, n):
    mask = masks.compile(Regex("abc"))
    assert mask.would_accept(PLAIN.ids(draft)) == n
    assert PLAIN.allowed(mask) == {ord("a")}, "asking has moved it"


def test_what_is_compiled_is_known(masks):
    watch, regex = Watch(("<x>",)), Regex("known already")
    assert masks.is_kept(Stages((watch,)))
    assert not masks.is_kept(regex)
    assert not masks.is_kept(Stages((watch, regex)))
    masks.compile(regex)
    assert masks.is_kept(regex)
    assert masks.is_kept(Stages((watch, regex)))


def test_only_what_is_compiled_is_copied(masks):
    watch, regex = Watch(("<x>",)), Regex("copied later")
    assert masks.kept(regex) is None
    assert masks.kept(Stages((watch, regex))) is None
    assert not masks.is_kept(regex), "asking has compiled it"
    masks.compile(regex)
    assert PLAIN.allowed(masks.kept(regex)) == {ord("c")}
    assert masks.kept(Stages((watch, regex))) is not None


def test_what_was_copied_last_makes_room_last():
    few = Masks(PLAIN.tokenizer, PLAIN.n_vocab)
    first, second = Regex("first"), Regex("second")
    for rule in (first, second):
        few.compile(rule)
    assert few.kept(first)
    for i in range(63):
        few.compile(Regex(f"other {i}"))
    assert few.kept(second) is None
    assert PLAIN.allowed(few.kept(first)) == {ord("f")}


def test_a_mask_tells_what_its_last_token_took():
    now_s = itertools.count()
    timed = Masks(PLAIN.tokenizer, PLAIN.n_vocab, clock=lambda: float(next(now_s)))
    mask = timed.compile(Regex("[0-9]{9}"))
    assert mask.took_s == 1.0, "the first one was computed with the structure"
    assert timed.kept(Regex("[0-9]{9}")).took_s == 1.0
    mask.accept(ord("1"))
    PLAIN.allowed(mask)
    assert mask.took_s == 2.0


def test_what_a_structure_takes_to_compile_is_not_what_its_masks_take():
    times_s = iter((0.0, 9.0, 9.0, 9.05))  # the first mask makes the lexer learn its states
    timed = Masks(PLAIN.tokenizer, PLAIN.n_vocab, clock=lambda: next(times_s))
    assert timed.compile(Regex("[0-9]{9}")).took_s == pytest.approx(0.05)


def test_newcomers_with_long_masks_are_not_all_in_one_step():
    now_s = itertools.count()
    timed = Masks(PLAIN.tokenizer, PLAIN.n_vocab, clock=lambda: 0.05 * next(now_s))
    newcomers = []
    for i in range(32):
        mask = timed.compile(Regex("[0-9]{9}"))
        assert ord("1") in PLAIN.allowed(mask)
        mask.accept(ord("1"))  # its first token; the second's mask comes in the next step
        newcomers.append(Running(i, [5], 100, mask=mask))
    assert len(sitting_out(newcomers)) == 31


def test_a_mask_forbids_the_same_where_it_allows_few_or_most(masks):
    few, most = masks.compile(Regex("[ab]")), masks.compile(Regex("[^a]*"))
    assert PLAIN.allowed(few) == {ord("a"), ord("b")}
    logits = np.arange(PLAIN.n_vocab, dtype=np.float32)
    most.apply(logits)
    kept = np.flatnonzero(logits > -np.inf)
    assert ord("a") not in kept
    assert {ord("b"), PLAIN.end} <= set(kept)
    assert list(logits[kept]) == list(kept)
