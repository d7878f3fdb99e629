import pytest
from mask_fakes import PLAIN, Alphabet

from edgellm.chat.messages import Lark, Regex, Stages, Thinking, Watch
from edgellm.runner.sampling.masks import Masks

MARKS = ("<think>", "</think>", "<call>", "</call>")
MARKED = Alphabet(MARKS)

DIGITS = Regex("[0-9]{2}")
CALL = Lark("start: m_0 /[0-9]/ m_1 (m_0 /[0-9]/ m_1)?", ("<call>", "</call>"))
THINKING = Thinking("<think>", "</think>")
OPENED = Thinking("<think>", "</think>", opened=True)


@pytest.fixture(params=[MARKED, PLAIN], ids=["special tokens", "letters"])
def alphabet(request):
    return request.param


def compiled(alphabet, *stages):
    return Masks(alphabet.tokenizer, alphabet.n_vocab).compile(Stages(stages))


def everything(alphabet):
    return {*range(alphabet.n_vocab)}


def test_a_structure_waits_for_the_thoughts_that_the_prompt_began(alphabet):
    mask = compiled(alphabet, OPENED, DIGITS)
    assert alphabet.allows(mask, "7 or so: 1234")
    assert not mask.complete
    assert alphabet.allows(mask, "</think>\n\n42")
    assert mask.complete


def test_thoughts_before_a_structure_cannot_end_the_answer(alphabet):
    mask = compiled(alphabet, OPENED, DIGITS)
    assert alphabet.allowed(mask) == everything(alphabet) - {alphabet.end}


def test_white_space_after_thoughts_has_a_bound(alphabet):
    mask = compiled(alphabet, OPENED, DIGITS)
    assert alphabet.allows(mask, "</think>\n\n")
    assert not alphabet.allows(mask, "\n")
    assert alphabet.allows(mask, "42")


def test_thoughts_may_come_or_be_left_out(alphabet):
    assert alphabet.allows(compiled(alphabet, THINKING, DIGITS), "42")
    assert alphabet.allows(compiled(alphabet, THINKING, DIGITS), "<think>x</think>42")
    for other in ("x", "<thank>"):
        assert not alphabet.allows(compiled(alphabet, THINKING, DIGITS), other)


def test_a_structure_that_begins_like_thoughts_is_no_thought(alphabet):
    tag = Lark("start: m_0", ("<call>",))
    assert alphabet.allows(compiled(alphabet, THINKING, tag), "<call>")
    mask = compiled(alphabet, THINKING, tag)
    assert alphabet.allows(mask, "<think>hm</think><call>")
    assert mask.complete


def test_a_budget_ends_thoughts(alphabet):
    mask = compiled(alphabet, Thinking("<think>", "</think>", opened=True, budget=3), DIGITS)
    assert alphabet.allows(mask, "abc")
    end = alphabet.ids("</think>")
    for token in end:
        assert alphabet.allowed(mask) == {token}
        mask.accept(token)
    assert alphabet.allows(mask, "42")
    assert mask.complete


def test_a_budget_counts_from_where_thoughts_begin(alphabet):
    mask = compiled(alphabet, Thinking("<think>", "</think>", budget=2))
    assert alphabet.allows(mask, "<think>ab")
    assert alphabet.allowed(mask) == {alphabet.ids("</think>")[0]}


def test_without_a_structure_all_is_free_after_the_thoughts(alphabet):
    mask = compiled(alphabet, Thinking("<think>", "</think>", budget=20))
    assert alphabet.allows(mask, "<think>a</think> and what not")
    assert alphabet.allowed(mask) == everything(alphabet)
    assert not mask.complete


def test_no_budget_at_all_ends_thoughts_at_once(alphabet):
    mask = compiled(alphabet, Thinking("<think>", "</think>", opened=True, budget=0))
    assert alphabet.allowed(mask) == {alphabet.ids("</think>")[0]}


def test_a_budget_never_ends_inside_a_character(alphabet):
    mask = compiled(alphabet, Thinking("<think>", "</think>", opened=True, budget=1))
    assert alphabet.allows(mask, "é")
    assert alphabet.allowed(mask) == {alphabet.ids("</think>")[0]}


def test_thoughts_that_end_within_their_budget_are_not_cut(alphabet):
    mask = compiled(alphabet, Thinking("<think>", "</think>", opened=True, budget=99))
    assert alphabet.allows(mask, "ok</think>Four.")


def test_nothing_binds_before_the_mark_that_is_watched_for(alphabet):
    mask = compiled(alphabet, Watch(("<call>",)), CALL)
    assert alphabet.allowed(mask) == everything(alphabet)
    assert alphabet.allows(mask, "anything <cal l>: ")
    assert alphabet.allowed(mask) == everything(alphabet)
    assert alphabet.allows(mask, "<call>")
    assert alphabet.allowed(mask) == {ord(digit) for digit in "0123456789"}
    assert alphabet.allows(mask, "1</call>")
    assert alphabet.may_end(mask)
    assert alphabet.allows(mask, "<call>2</call>")
    assert mask.complete


def test_the_first_of_several_marks_counts(alphabet):
    either = Lark('start: (m_0 | "!") /[0-9]/', ("<call>",))
    mask = compiled(alphabet, Watch(("<call>", "!")), either)
    assert alphabet.allows(mask, "oh!")
    assert alphabet.allowed(mask) == {ord(digit) for digit in "0123456789"}


@pytest.mark.parametrize(("text", "binds"), [("{", True), (" \n{", True), ("a {", False)])
def test_some_marks_count_as_the_first_text_only(alphabet, text, binds):
    mask = compiled(alphabet, Watch((), at_start=("{",)), Lark('start: "{" /[0-9]/'))
    assert alphabet.allows(mask, text)
    assert (alphabet.allowed(mask) != everything(alphabet)) is binds


def test_a_mark_with_a_blank_before_it_is_found_at_the_start(alphabet):
    mask = compiled(alphabet, Watch((), at_start=(" to=",)), Lark('start: " to=" /[0-9]/'))
    assert alphabet.allows(mask, " to=")
    assert alphabet.allowed(mask) == {ord(digit) for digit in "0123456789"}


def test_thoughts_come_before_watching(alphabet):
    mask = compiled(alphabet, OPENED, Watch(("<call>",)), CALL)
    assert alphabet.allows(mask, "a <call> in thoughts")
    assert alphabet.allowed(mask) == everything(alphabet)
    assert alphabet.allows(mask, "</think>Now: <call>")
    assert alphabet.allowed(mask) == {ord(digit) for digit in "0123456789"}


def test_no_thoughts_and_then_watching(alphabet):
    mask = compiled(alphabet, THINKING, Watch(("<call>",)), CALL)
    assert alphabet.allows(mask, "<call>")
    assert alphabet.allowed(mask) == {ord(digit) for digit in "0123456789"}


def test_only_a_stage_that_binds_takes_time(alphabet):
    masks = Masks(alphabet.tokenizer, alphabet.n_vocab, clock=iter(range(1000)).__next__)
    mask = masks.compile(Stages((OPENED, DIGITS)))
    assert mask.took_s == 0
    assert alphabet.allows(mask, "so</think>4")
    assert mask.took_s > 0


def test_looking_ahead_changes_nothing_but_when_it_is_computed(alphabet):
    plain, ahead = (compiled(alphabet, THINKING, Watch(("<call>",)), CALL) for _ in range(2))
    text = "<think>a</think>\n\nb<call>1</call>"
    while text:
        ahead.look_ahead()
        assert alphabet.allowed(ahead) == alphabet.allowed(plain)
        mark = next((one for one in MARKS if text.startswith(one)), text[0])
        for mask in (plain, ahead):
            assert alphabet.allows(mask, mark)
        text = text.removeprefix(mark)


def test_one_structure_follows_another(alphabet):
    preface = Lark('start: m_0 "!"', ("<call>",))
    mask = compiled(alphabet, preface, DIGITS)
    assert alphabet.allows(mask, "<call>!42")
    assert mask.complete


WORDS = Alphabet(words=("a<call>", "<call>1", "</think>\n4", "m</think>4"))


@pytest.mark.parametrize("first", ["a<call>", "<call>1"])
def test_a_mark_inside_a_token_hands_the_rest_of_it_on(first):
    mask = compiled(WORDS, Watch(("<call>",)), CALL)
    mask.accept(WORDS.word(first))
    expected = {ord("<")} if first.endswith("1") else {ord(digit) for digit in "0123456789"}
    assert WORDS.allowed(mask) == expected


@pytest.mark.parametrize("first", ["</think>\n4", "m</think>4"])
def test_thoughts_that_end_inside_a_token_hand_the_rest_of_it_on(first):
    mask = compiled(WORDS, OPENED, DIGITS)
    mask.accept(WORDS.word(first))
    assert WORDS.allowed(mask) == {ord(digit) for digit in "0123456789"}
    mask.accept(ord("2"))
    assert mask.complete


def test_a_call_that_has_begun_otherwise_is_left_alone():
    mask = compiled(WORDS, Watch(("<call>",)), Lark('start: m_0 "x"', ("<call>",)))
    mask.accept(WORDS.word("<call>1"))
    assert WORDS.allowed(mask) == everything(WORDS)
    assert not mask.complete


@pytest.mark.parametrize(
    ("stages", "before", "draft"),
    [
        ((DIGITS,), "", "12"),
        ((DIGITS,), "1", "2x"),
        ((OPENED, DIGITS), "", "what not"),
        ((OPENED, DIGITS), "a", "b<end>"),
        ((Thinking("<think>", "</think>", opened=True, budget=1), DIGITS), "a", "</think>"),
        ((Thinking("<think>", "</think>", opened=True, budget=1), DIGITS), "a", "x</think>"),
        ((THINKING, DIGITS), "", "<think>free"),
        ((THINKING, DIGITS), "", "4x"),
        ((THINKING, DIGITS), "", "x"),
        ((THINKING, DIGITS), "<think>a</think>", "\n\n42"),
        ((THINKING, DIGITS), "<think>a</think>\n", "\n\n"),
        ((THINKING,), "<think>a</think>", "all is free"),
        ((Watch(("<call>",)), CALL), "some", " text"),
        ((Watch(("<call>",)), CALL), "<call>", "1</call>"),
        ((Watch(("<call>",)), CALL), "<call>", "x"),
    ],
)
def test_a_draft_is_known_to_fit_within_a_stage(alphabet, stages, before, draft):
    mask, walked = compiled(alphabet, *stages), compiled(alphabet, *stages)
    assert alphabet.allows(mask, before)
    assert alphabet.allows(walked, before)
    fits = 0
    for token in alphabet.ids(draft):
        if token not in alphabet.allowed(walked):
            break
        walked.accept(token)
        fits += 1
    allowed = alphabet.allowed(mask)
    assert mask.would_accept(alphabet.ids(draft)) == fits
    assert alphabet.allowed(mask) == allowed, "asking has moved it"
