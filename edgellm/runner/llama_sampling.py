"""From logits to a token: llama.cpp's own samplers, with a mask before them where asked.

The order is llama.cpp's (common/sampling.cpp): mask, logit bias, penalties, top-k, typical, top-p,
min-p, temperature, draw. Plain greedy needs no chain: numpy's argmax finds the same token at a
twentieth of the cost.
"""

import ctypes
import secrets
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from edgellm.chat.events import TokenLogprob
from edgellm.chat.messages import SamplingParams

Logits = npt.NDArray[np.float32]


class Sampler:
    """One sequence's. `close` frees the native chain."""

    def __init__(
        self,
        params: SamplingParams,
        n_vocab: int,
        n_ctx_seq: int,
        prompt: tuple[int, ...],
        banned: list[int],
    ) -> None:
        biases = [*params.logit_bias]
        biases += [(token, -np.inf) for token in banned]
        self._greedy = params.temperature <= 0 and not biases and not _penalises(params)
        self._chain: Any = None
        if not self._greedy:
            last_n = _last_n(params, n_ctx_seq)
            self._chain = _chain(params, n_vocab, last_n, biases)
            if _penalises(params):  # they look back on the prompt too, as llama-server's do
                for token in prompt[-last_n:]:
                    llama_cpp.llama_sampler_accept(self._chain, token)

    def sample(self, context: Any, row: int, logits: Logits) -> int:
        """`logits` are the row's own, in llama.cpp's memory: a mask written there counts."""
        if self._greedy:
            return int(logits.argmax())
        return int(llama_cpp.llama_sampler_sample(self._chain, context, row))

    def close(self) -> None:
        if self._chain is not None:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None


def top_logprobs(logits: Logits, token: int, n_top: int) -> tuple[float, list[tuple[int, float]]]:
    """The natural log of the token's probability, and the `n_top` likeliest with theirs.

    Over the whole vocabulary, before temperature and truncation, as OpenAI and llama-server do.
    """
    peak = float(logits.max())
    log_sum = peak + float(np.log(np.exp(logits - peak).sum(dtype=np.float64)))
    best: list[int] = []
    if n_top := min(n_top, logits.size):
        candidates = np.argpartition(logits, -n_top)[-n_top:]
        best = [int(i) for i in candidates[np.argsort(-logits[candidates], kind="stable")]]
    return float(logits[token]) - log_sum, [(i, float(logits[i]) - log_sum) for i in best]


def describe(logits: Logits, token: int, n_top: int, pieces: "PieceOf") -> TokenLogprob:
    logprob, top = top_logprobs(logits, token, n_top)
    return TokenLogprob(token, pieces(token), logprob, tuple((i, pieces(i), p) for i, p in top))


class PieceOf:
    """The bytes of a token, looked up once. Without `special`, control tokens have none."""

    def __init__(self, vocab: Any, *, special: bool = False) -> None:
        self._vocab, self._special = vocab, special
        self._cache: dict[int, bytes] = {}
        self._buffer = ctypes.create_string_buffer(256)

    def __call__(self, token: int) -> bytes:
        piece = self._cache.get(token)
        if piece is None:
            piece = self._cache[token] = self._look_up(token)
        return piece

    def _look_up(self, token: int) -> bytes:
        n = llama_cpp.llama_token_to_piece(
            self._vocab, token, self._buffer, len(self._buffer), 0, self._special
        )
        if n < 0:  # the piece is longer than the buffer: -n says by how much
            self._buffer = ctypes.create_string_buffer(-n)
            return self._look_up(token)
        return self._buffer.raw[:n]


def _last_n(params: SamplingParams, n_ctx_seq: int) -> int:
    """llama.cpp keeps a ring of that many tokens, however many: never more than can be."""
    return n_ctx_seq if params.repeat_last_n < 0 else min(params.repeat_last_n, n_ctx_seq)


def _penalises(params: SamplingParams) -> bool:
    return bool(params.repeat_last_n) and (
        params.repeat_penalty != 1.0
        or params.frequency_penalty != 0.0
        or params.presence_penalty != 0.0
    )


def _chain(
    params: SamplingParams, n_vocab: int, last_n: int, biases: list[tuple[int, float]]
) -> Any:
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for sampler in _samplers(params, n_vocab, last_n, biases):
        llama_cpp.llama_sampler_chain_add(chain, sampler)
    return chain


def _samplers(
    params: SamplingParams, n_vocab: int, last_n: int, biases: list[tuple[int, float]]
) -> list[Any]:
    chosen: list[Any] = []
    if biases:
        array = (llama_cpp.llama_logit_bias * len(biases))(
            *(llama_cpp.llama_logit_bias(token, bias) for token, bias in biases)
        )
        chosen.append(llama_cpp.llama_sampler_init_logit_bias(n_vocab, len(biases), array))
    if _penalises(params):
        chosen.append(
            llama_cpp.llama_sampler_init_penalties(
                n_vocab,
                last_n,
                params.repeat_penalty,
                params.frequency_penalty,
                params.presence_penalty,
            )
        )
    if params.temperature <= 0:
        return [*chosen, llama_cpp.llama_sampler_init_greedy()]
    if params.top_k > 0:
        chosen.append(llama_cpp.llama_sampler_init_top_k(params.top_k))
    if params.typical_p < 1.0:
        chosen.append(llama_cpp.llama_sampler_init_typical(params.typical_p, 1))
    if params.top_p < 1.0:
        chosen.append(llama_cpp.llama_sampler_init_top_p(params.top_p, 1))
    if params.min_p > 0.0:
        chosen.append(llama_cpp.llama_sampler_init_min_p(params.min_p, 1))
    chosen.append(llama_cpp.llama_sampler_init_temp(params.temperature))
    seed = secrets.randbits(32) if params.seed is None else params.seed & 0xFFFFFFFF
    chosen.append(llama_cpp.llama_sampler_init_dist(seed))
    return chosen
