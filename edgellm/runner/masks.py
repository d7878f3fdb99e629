"""JSON schema and regex as token masks, by llguidance.

llama.cpp's own grammar sampler is never loaded: a body of 60 KB kills it or hangs it for a minute,
and it costs 42 to 111 ms a token on a vocabulary of 151,000. llguidance has limits, and they are
set here: what would explode becomes an error of the one request that asked for it.
"""

import json
from typing import Any

import llguidance
import llguidance.numpy
import numpy as np
import numpy.typing as npt

from edgellm.chat.messages import JSONSchema, Regex, Structure
from edgellm.errors import BadRequest

_MAX_SOURCE_BYTES = 256 << 10
_LIMITS = llguidance.LLParserLimits(
    max_items_in_row=2_000,
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=200_000,
    step_max_items=50_000,
    max_lexer_states=50_000,
    max_grammar_size=200_000,
    verbose_errors=False,
)


class Masks:
    """Compiles structures for one vocabulary."""

    def __init__(self, tokenizer: llguidance.LLTokenizer, n_vocab: int) -> None:
        self._tokenizer = tokenizer
        self._n_vocab = n_vocab

    def compile(self, structure: Structure) -> "TokenMask":
        """Raises BadRequest with llguidance's own words."""
        grammar = _grammar(structure)
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            raise BadRequest(
                f"this structure can't be followed: {_first_line(matcher.get_error())}",
                param="response_format",
            )
        return TokenMask(matcher, self._n_vocab)


class TokenMask:
    """One sequence's place in its structure."""

    def __init__(self, matcher: llguidance.LLMatcher, n_vocab: int) -> None:
        self._matcher = matcher
        self._bits = llguidance.numpy.allocate_token_bitmask(1, n_vocab)

    @property
    def complete(self) -> bool:
        """No token but an end can follow, or the structure's own limits broke it off."""
        return bool(self._matcher.is_stopped())

    @property
    def fault(self) -> str | None:
        """Why its limits broke it off. From then on it allows nothing but an end."""
        if not self._matcher.is_error():
            return None
        return (
            f"this structure is too complex to go on with: {_first_line(self._matcher.get_error())}"
        )

    def apply(self, logits: npt.NDArray[np.float32]) -> None:
        """Forbid, in place, every token that can't come next."""
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._bits)
        allowed = np.unpackbits(self._bits.view(np.uint8)[0], bitorder="little")
        logits[allowed[: logits.size] == 0] = -np.inf

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)


def _grammar(structure: Structure) -> str:
    match structure:
        case JSONSchema(schema):
            _check_size(schema)
            try:
                # Free white space lets a small model write nothing else.
                options = {"whitespace_flexible": False}
                loaded = json.loads(schema)
                return str(llguidance.LLMatcher.grammar_from_json_schema(loaded, options))
            except (ValueError, RecursionError) as error:
                raise BadRequest(f"not a JSON schema: {error}", param="response_format") from error
        case Regex(pattern):
            _check_size(pattern)
            return str(llguidance.LLMatcher.grammar_from_regex(pattern))


def _check_size(source: str) -> None:
    if len(source) > _MAX_SOURCE_BYTES:
        raise BadRequest(
            f"a structure of {len(source)} characters; {_MAX_SOURCE_BYTES} is the limit",
            param="response_format",
        )


def _first_line(text: Any) -> str:
    return str(text).strip().splitlines()[0] if str(text).strip() else ""
