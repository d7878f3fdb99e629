"""Structures as token masks, by llguidance.

llama.cpp's own grammar sampler is never loaded: a grammar of 60 KB kills it or hangs it for a
minute, and on a vocabulary of 151,000 it costs 42 to 111 ms a token. llguidance has limits, which
are set here: what would explode becomes an error of the one request that asked for it. Its limits
are in units of work, not time: about 20,000 items or 14,000 units of fuel take it a millisecond.

A structure is compiled once, with its first mask, which costs more than later ones. Requests get
copies, which share what the lexer has learnt.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import assert_never

import llguidance
import llguidance.numpy
import numpy as np
import numpy.typing as npt

from edgellm.chat.grammars.json_schema import binding, without_unread
from edgellm.chat.grammars.repeats import MAX_SIZE, patterns_in, written_out
from edgellm.chat.grammars.to_lark import to_lark
from edgellm.chat.messages import (
    GBNF,
    Choices,
    JSONSchema,
    Lark,
    Regex,
    Rule,
    Stages,
    Structure,
    Thinking,
    Watch,
)
from edgellm.errors import BadRequest
from edgellm.runner.batch import Mask
from edgellm.runner.sampling.staged import StagedMask
from edgellm.runner.sampling.vocabulary import Vocabulary

PARAM = "structure"  # what an error blames: the gateway knows what its client calls it

_MAX_SOURCE_BYTES = 512 << 10
_MAX_KEPT = 64  # compiled structures
# Later masks are computed on the loop's thread, where everybody waits. The worst step seen with so
# many items took 0.08 s, with 151,936 tokens; with twice as many, 0.23 s.
_LIMITS = llguidance.LLParserLimits(
    max_items_in_row=2_000,
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=200_000,
    step_max_items=10_000,
    max_lexer_states=50_000,
    max_grammar_size=200_000,
    verbose_errors=False,
)

_MAX_TRIED = 2_000  # characters of a regular expression that is tried alone, a few milliseconds

_OF_A_REGEX = re.compile(r"regex parse error|lookarounds not supported")
_OF_A_LINE = re.compile(r"at (\d+)\(\d+\): (?:failed to compile JSON schema: )?")

Bits = npt.NDArray[np.int32]  # one for each token; of a whole row


class _NotKept(Exception):
    """The structure isn't kept, or no longer: another thread may just have made room for others."""


class Masks:
    """Compiles structures for one vocabulary, on one thread. Compiled ones are kept, and copied on
    any thread that shares `lock`."""

    def __init__(
        self,
        tokenizer: llguidance.LLTokenizer,
        n_vocab: int,
        lock: AbstractContextManager[object] = nullcontext(),  # noqa: B008 - it has no state
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._tokenizer, self._n_vocab = tokenizer, n_vocab
        self._vocabulary = Vocabulary(tokenizer, n_vocab)
        self._kept: OrderedDict[Rule, TokenMask] = OrderedDict()
        self._lock = lock  # of `_kept`
        self._clock = clock

    def compile(self, structure: Structure) -> Mask:
        """Raises BadRequest with llguidance's own words."""
        return self._mask(structure, self._compiled)

    def kept(self, structure: Structure) -> Mask | None:
        """A copy, which takes microseconds. None: it would have to be compiled."""
        try:
            return self._mask(structure, self._copied)
        except _NotKept:
            return None

    def is_kept(self, structure: Structure) -> bool:
        """Whether it is compiled already."""
        rules = structure.stages if isinstance(structure, Stages) else (structure,)
        return all(isinstance(one, Thinking | Watch) or one in self._kept for one in rules)

    def _mask(self, structure: Structure, mask_of: Callable[[Rule], "TokenMask"]) -> Mask:
        if isinstance(structure, Stages):
            return StagedMask(structure.stages, self._vocabulary, mask_of)
        return mask_of(structure)

    def _compiled(self, rule: Rule) -> "TokenMask":
        if rule not in self._kept:
            first = self._first(rule)
            with self._lock:
                self._kept[rule] = first
                if len(self._kept) > _MAX_KEPT:
                    self._kept.popitem(last=False)
        return self._copied(rule)

    def _copied(self, rule: Rule) -> "TokenMask":
        """Raises _NotKept."""
        with self._lock:
            kept = self._kept.get(rule)
            if kept is None:
                raise _NotKept
            self._kept.move_to_end(rule)
        return kept.copy()

    def _first(self, rule: Rule) -> "TokenMask":
        grammar = self._grammar(rule)
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0, limits=_LIMITS)
        bits = llguidance.numpy.allocate_token_bitmask(1, self._n_vocab)
        mask = TokenMask(matcher, bits, self._clock)
        mask.compute()
        mask.compute()  # again, for its time: the lexer has learnt by now what all masks need
        if matcher.is_error():
            if read := _read(rule, str(matcher.get_error())):
                return self._first(read)
            raise _refused(_words(str(matcher.get_error()), rule))
        return mask

    def _grammar(self, rule: Rule) -> str:
        from_lark = llguidance.LLMatcher.grammar_from_lark
        match rule:
            case JSONSchema(schema):
                _check_repeats(patterns_in(_checked(schema)))
                return _json_grammar(schema)
            case Regex(pattern):
                _check_repeats([_checked(pattern)])
                return str(llguidance.LLMatcher.grammar_from_regex(pattern))
            case Choices(texts):
                either = " | ".join(json.dumps(text, ensure_ascii=False) for text in texts)
                return str(from_lark(_checked(f"start: {either}")))
            case GBNF(grammar):
                return str(from_lark(to_lark(_checked(grammar))))
            case Lark(grammar, markers):
                _check_repeats(patterns_in(_checked(grammar)))  # a tool's schema is written in it
                definitions = [self._vocabulary.definition(i, m) for i, m in enumerate(markers)]
                return str(from_lark("\n".join([grammar, *definitions])))
            case _:
                assert_never(rule)


class TokenMask:
    """One sequence's place in its structure."""

    def __init__(
        self, matcher: llguidance.LLMatcher, bits: Bits, clock: Callable[[], float]
    ) -> None:
        self._matcher, self._bits, self._clock = matcher, bits, clock
        self._is_computed = False  # whether `bits` are those of this place
        self.took_s = self._accepting_s = 0.0

    def copy(self) -> "TokenMask":
        """A copy, with the mask that is computed here already. `took_s` stays this one's until the
        copy computes its second mask, in the same step: that will take about as long."""
        copied = TokenMask(self._matcher.deep_copy(), self._bits.copy(), self._clock)
        copied._is_computed, copied.took_s = True, self.took_s
        return copied

    @property
    def complete(self) -> bool:
        """Nothing but an end can follow, or the limits have broken it off."""
        return bool(self._matcher.is_stopped())

    @property
    def fault(self) -> str | None:
        """Why the limits have broken it off. It allows nothing but an end from then on."""
        if not self._matcher.is_error():
            return None
        return (
            f"this structure is too complex to go on with: {_first_line(self._matcher.get_error())}"
        )

    def compute(self) -> None:
        begun_s = self._clock()
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._bits)
        self.took_s = self._accepting_s + self._clock() - begun_s
        self._is_computed = True

    def look_ahead(self) -> None:
        if not self._is_computed:
            self.compute()

    def apply(self, logits: npt.NDArray[np.float32]) -> None:
        """Forbid, in place, every token that can't come next."""
        self.look_ahead()
        bits = self._bits.view(np.uint8)[0]
        allowed = np.unpackbits(bits, count=logits.size, bitorder="little").view(np.bool_)
        if 2 * np.count_nonzero(allowed) > logits.size:
            logits[np.flatnonzero(~allowed)] = -np.inf
            return
        ids = np.flatnonzero(allowed)
        kept = logits[ids]
        logits.fill(-np.inf)
        logits[ids] = kept

    def accept(self, token: int) -> None:
        self._is_computed = False
        begun_s = self._clock()
        self._matcher.consume_token(token)
        self._accepting_s = self._clock() - begun_s

    def would_accept(self, tokens: Sequence[int]) -> int:
        """How many of them, from the first, may come next: see Mask in batch.py."""
        return int(self._matcher.validate_tokens(list(tokens)))

    def accepts(self, tokens: Sequence[int]) -> bool:
        """Takes them all, or none of them."""
        given = list(tokens)
        if self.would_accept(given) < len(given):
            return False
        if given:
            self._is_computed = False
            self._matcher.consume_tokens(given)
        return True

    def restart(self) -> None:
        self._is_computed = False
        self._matcher.reset()


def _json_grammar(schema: str) -> str:
    try:
        # Free white space lets a small model write nothing else.
        options = {"whitespace_flexible": False}
        bound = binding(json.loads(schema))
        return str(llguidance.LLMatcher.grammar_from_json_schema(bound, options))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"not a JSON schema: {error}", param=PARAM) from error


def _checked(source: str) -> str:
    if len(source) > _MAX_SOURCE_BYTES:
        raise _refused(f"{len(source)} characters are more than {_MAX_SOURCE_BYTES}")
    return source


def _check_repeats(patterns: Iterable[str]) -> None:
    for pattern in patterns:
        if (size := written_out(pattern)) > MAX_SIZE:
            raise _refused(
                f"with its repetitions written out, {pattern[:40]!r} has {size} characters; "
                f"{MAX_SIZE} is the limit"
            )


def _read(rule: Rule, error: str) -> Rule | None:
    """The rule without those regular expressions that llguidance can't read, if it failed because
    of one. Only for tools, which are lenient; and only after the failure, as to check takes a
    while.
    """
    if not isinstance(rule, Lark) or not _OF_A_REGEX.search(error):
        return None
    grammar = without_unread(rule.grammar, _is_read)
    return Lark(grammar, rule.markers) if grammar != rule.grammar else None


def _is_read(pattern: str) -> bool:
    if written_out(pattern) > _MAX_TRIED:
        return True
    grammar = llguidance.LLMatcher.grammar_from_json_schema({"pattern": pattern})
    return not _OF_A_REGEX.search(llguidance.LLMatcher.validate_grammar(grammar, limits=_LIMITS))


def _refused(words: str) -> BadRequest:
    return BadRequest(f"this structure can't be followed: {words}", param=PARAM)


def _words(error: str, rule: Rule) -> str:
    """llguidance's own words. In a grammar that we wrote they name a line: told is whose schema
    that line is."""
    words, found = _first_line(error), _OF_A_LINE.match(error)
    if not found or not isinstance(rule, Lark):
        return words
    line = rule.grammar.splitlines()[int(found[1]) - 1]
    words = words.removeprefix(found[0]) if words.startswith(found[0]) else words
    return f"{line.rpartition(' // ')[2]}: {words}" if " // " in line else words


def _first_line(text: str) -> str:
    """The first line; or, if that only says that there is an error, the one with the error."""
    lines = text.strip().splitlines() or [""]
    return next((line for line in lines if line.startswith("error: ")), lines[0])
