import contextlib
import itertools
import json
import time

import llguidance
import numpy as np
import pytest
from chat.hearing import BY_NAME, TOOLS, hear
from mask_fakes import Alphabet

from edgellm.chat.grammars.gbnf import Either, Ref, Repeat, Sequence, Set, parse
from edgellm.chat.grammars.json_schema import FORMATS
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import GBNF, Choices, JSONSchema, Lark, Regex, Stages, Watch
from edgellm.errors import BadRequest
from edgellm.runner.pacing.mask_turns import sitting_out
from edgellm.runner.sampling.masks import Masks
from edgellm.runner.sequence import Sequence as Running

PLAIN = Alphabet()
MARKED = Alphabet(
    (
        "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "｜DSML｜",
        "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>", "<|channel|>", "<|message|>", "<|start|>", "<|constrain|>",
        "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<|START_ACTION|>",
        "<|END_ACTION|>", "<|tool_call>", "<tool_call|>", '<|"|>', "<|tool_calls_section_begin|>",
        "<|tool_calls_section_end|>", "<|tool_call_begin|>", "<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def masks():
    return Masks(PLAIN.tokenizer, PLAIN.n_vocab)


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


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        (Regex("("), "unclosed group"),
        (JSONSchema('{"type": "strin"}'), "Invalid type: strin"),
        (JSONSchema('{"type": "array", "uniqueItems": true}'), 'keys: ["uniqueItems"]'),
        (JSONSchema('{"$ref": "http://x"}'), "http://x"),
        (JSONSchema("[1"), "not a JSON schema"),
        (GBNF('root ::= "a'), "grammar: line 1: the text ends"),
        (Regex("a" * 600_000), "600000 characters are more than"),
        (Regex("(a{1000}){1000}"), "has 1000000 characters; 100000 is the limit"),
        (JSONSchema('{"type": "string", "pattern": "a{200000}"}'), "has 200000 characters"),
    ],
)
def test_what_is_no_structure_is_refused_in_llguidances_words(masks, structure, words):
    with pytest.raises(BadRequest) as raised:
        masks.compile(structure)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "format",
    [
        *sorted(FORMATS), "path", "binary", "password", "int64", "uri-reference", "iri", "regex",
        "json-pointer", "idn-email", "relative-json-pointer", "uri-template", "byte",
    ],
)  # fmt: skip
def test_the_formats_that_bind_are_those_that_llguidance_knows(format):
    schema = {"type": "string", "format": format}
    grammar = llguidance.LLMatcher.grammar_from_json_schema(schema)
    is_known = not llguidance.LLMatcher.validate_grammar(grammar)
    assert is_known == (format in FORMATS)


@pytest.mark.parametrize(
    ("schema", "good"),
    [
        ({"type": "string", "format": "path"}, '"a/b"'),
        ({"type": "array", "items": {"enum": [1]}, "uniqueItems": False}, "[1]"),
        ({"type": "object", "properties": {"format": {"format": "binary"}}}, '{"format":"x"}'),
        ({"type": "object", "propertyNames": {"type": "string"}, "maxProperties": 0}, "{}"),
        ({"anyOf": [{"const": {"format": "path"}}]}, '{"format":"path"}'),
    ],
)
def test_what_binds_nothing_in_a_schema_is_passed_over(masks, schema, good):
    mask = masks.compile(JSONSchema(json.dumps(schema)))
    assert PLAIN.allows(mask, good)
    assert PLAIN.may_end(mask)


@pytest.mark.parametrize(
    "pattern", [r"^(?!a).*$", r"\bfoo\b", r"(a)\1", "a^b", "a{", "[^]", "(?>a)", r"\cA", "[a-z"]
)
def test_a_tools_pattern_that_is_not_read_binds_nothing_and_the_others_do(masks, pattern):
    properties = {"a": {"pattern": pattern}, "b": {"type": "string", "pattern": "^x+$"}}
    tool = {"type": "object", "properties": properties, "patternProperties": {pattern: {}}}
    rules = Rules()
    calls = rules.json(tool, "tool 'x'")
    assert PLAIN.allows(masks.compile(rules.starting(calls)), '{"a": "#", "b": "xx"}')
    assert not PLAIN.allows(masks.compile(rules.starting(calls)), '{"a": "#", "b": "y"}')
    for structure in (
        JSONSchema(json.dumps(tool)),
        rules.starting(f"{rules.json(tool, 'response_format', is_strict=True)} | {calls}"),
    ):
        with pytest.raises(BadRequest, match=r"error|lookarounds"):
            masks.compile(structure)


def test_a_bad_schema_of_a_tool_is_blamed_by_the_tools_name(masks):
    rules = Rules()
    bodies = [rules.json({"type": kind}, f"tool '{kind}'") for kind in ("object", "strin")]
    with pytest.raises(BadRequest, match="tool 'strin': Invalid type: strin"):
        masks.compile(rules.starting(" | ".join(bodies)))


# ── GBNF: the same language ──────────────────────────────────────────────────


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


# ── tool calls: what the grammars write, the formats read ────────────────────


ENDS = {  # of free text
    "qwen-coder": "\n</parameter>",
    "seed-oss": "</parameter>",
    "minimax": "</parameter>",
    "glm": "</arg_value>",
    "deepseek-v3.2": "</｜DSML｜parameter>",
    "deepseek-v4": "</｜DSML｜parameter>",
    "gemma-4": '<|"|>',
}


def test_a_json_answer_is_free_until_it_has_a_tools_name(masks):
    llama = BY_NAME["llama-3"]

    def mask():
        rules = Rules()
        calls = rules.starting(llama.rule(rules, TOOLS, False))
        watch = Watch(llama.starts, tuple(map(llama.binds, TOOLS)))
        return masks.compile(Stages((watch, calls)))

    for answer in ('{"age": 3}', '{"name": "Bob"}', "[1]"):
        assert PLAIN.allows(mask(), answer)
    assert PLAIN.allows(mask(), '{"name": "clock", "parameters": {}}')
    assert not PLAIN.allows(mask(), '{"name": "clock", "age": 3}')


@pytest.mark.parametrize("alphabet", [PLAIN, MARKED], ids=["letters", "special tokens"])
@pytest.mark.parametrize("name", BY_NAME)
def test_whatever_a_formats_grammar_writes_is_heard_as_calls_and_nothing_else(name, alphabet):
    format, n_found = BY_NAME[name], 0
    for parallel in (False, True):
        rules = Rules()
        calls = Masks(alphabet.tokenizer, alphabet.n_vocab)
        grammar = rules.starting(format.rule(rules, TOOLS, parallel))
        for seed in range(4):
            text = alphabet.wander(calls.compile(grammar), seed, ENDS.get(name, ""))
            if text is None:
                continue  # a free text that went on and on
            n_found += 1
            said, _, heard, reason = hear(format, [text])
            assert (said, reason) == ("", "tool_calls"), text
            assert parallel or len(heard) == 1
            for _, tool, arguments in heard:
                check(tool, json.loads(arguments))
    assert n_found >= 4


def check(tool, arguments):
    """What TOOLS' schemas ask for."""
    match tool:
        case "clock":
            assert arguments == {}
        case "weather":
            assert isinstance(arguments["city"], str)
            assert isinstance(arguments.get("days", 1), int)
            assert {*arguments} <= {"city", "days"}
        case "note":
            assert isinstance(arguments["text"], str)
            assert isinstance(arguments.get("loud", True), bool)
            assert all(isinstance(tag, str) for tag in arguments.get("tags", []))
            assert arguments.get("where", {}).get("room", "hall") in ("hall", "attic")
            assert {*arguments} <= {"text", "tags", "where", "loud", "any"}
        case _:
            raise AssertionError(f"no tool is called {tool}")


# ── bombs ────────────────────────────────────────────────────────────────────

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
