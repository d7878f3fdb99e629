"""From logits to a token: llama.cpp's own samplers, on as few tokens as give the same result.

Order and names are llama-server's (docs/sampling.md). recipe.py decides what works on what, and
preselect.py finds the likeliest tokens; here llama.cpp does the arithmetic, so that a token is what
the whole chain on the whole vocabulary would give, to the last bit. Of tokens with equal logits the
one with the lowest id comes first; llama.cpp's sort leaves that open.

What a mask or a bias forbids is no candidate: it isn't there, instead of being unlikely. Each
request has random numbers of its own, so its tokens don't depend on who is sampled beside it.
"""

import ctypes
import secrets
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from edgellm.chat.messages import SamplerName, SamplingParams
from edgellm.runner.llama.vocab import Vocab
from edgellm.runner.sampling.logprobs import Told, left_logprobs
from edgellm.runner.sampling.preselect import Logits, at_least, likeliest, possible
from edgellm.runner.sampling.recipe import MIN_TEMPERATURE, Recipe, recipe, uses_dry

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
_MIROSTAT_M = 100  # tokens that version 1 estimates from (common/sampling.cpp)
_MAX_KEPT = 8  # of DRY's searches of the vocabulary

Candidates = npt.NDArray[np.void]  # of _CANDIDATE


class Samplers:
    """Makes the samplers of one model. `suppressed` are tokens that its file forbids."""

    def __init__(
        self,
        vocab: Any,
        n_vocab: int,
        n_ctx_seq: int,
        *,
        ends: Sequence[int],
        suppressed: Sequence[int] = (),
    ) -> None:
        self._vocab, self._n_vocab, self._n_ctx_seq = vocab, n_vocab, n_ctx_seq
        self._ends, self._suppressed = ends, suppressed
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()  # DRY's
        self._lock = threading.Lock()
        self._all = np.empty(n_vocab, dtype=_CANDIDATE)  # one row at a time needs it

    def start(self, params: SamplingParams, prompt: Sequence[int]) -> "Sampler":
        plan, chain = recipe(params), None
        if plan.draw != "greedy":
            chain = _chained([self._native(name, params) for name in plan.chain])
            llama_cpp.llama_sampler_chain_add(chain, self._draw(plan, params))
        by_id = [self._native(name, params) for name in plan.by_id]
        written = _Written(self._reach(plan.by_id, params))
        written.add(_last(prompt, written.n))
        # Penalties look back on the prompt, too, as llama-server's do.
        for native, name in zip(by_id, plan.by_id, strict=True):
            _accept(native, self._history(name, params, prompt))
        if n := self._reach(plan.chain, params):
            _accept(chain, _last(prompt, n))
        end = self._ends[0] if self._ends else 0
        return Sampler(plan, by_id, chain, self._biases(params), written, end, self._all)

    def warm(self, params: SamplingParams) -> None:
        """Search the vocabulary for DRY's sequence breakers. Any thread's; `start` then copies."""
        if uses_dry(params):
            llama_cpp.llama_sampler_free(self._dry(params))

    def is_warm(self, params: SamplingParams) -> bool:
        return not uses_dry(params) or self._dry_key(params) in self._kept

    def _reach(self, names: Sequence[SamplerName], params: SamplingParams) -> int:
        """How many of the last tokens any of these looks back on."""
        looking = {"penalties": params.repeat_last_n, "dry": params.dry_penalty_last_n}
        return max((self._last_n(looking[name]) for name in names if name in looking), default=0)

    def _history(
        self, name: SamplerName, params: SamplingParams, prompt: Sequence[int]
    ) -> Sequence[int]:
        """What of the prompt it has to be told: a call each, 16 ms for 32,768 of them. Penalties
        that look back on all tokens, and don't count them, need each once."""
        n = self._reach((name,), params)
        counts = params.frequency_penalty != 0.0 or n < self._n_ctx_seq
        if name == "penalties" and not counts:
            return [*dict.fromkeys(prompt)]
        return _last(prompt, n)

    def _last_n(self, given: int) -> int:
        """llama.cpp keeps a ring of that many tokens, however many: never more than can be."""
        return self._n_ctx_seq if given < 0 else min(given, self._n_ctx_seq)

    def _biases(self, params: SamplingParams) -> dict[int, float]:
        biases = {token: bias for token, bias in params.logit_bias if token < self._n_vocab}
        banned = [*self._suppressed, *(self._ends if params.ignore_eos else ())]
        return biases | dict.fromkeys(banned, -np.inf)

    def _native(self, name: SamplerName, params: SamplingParams) -> Any:
        """llama.cpp's, as common_sampler_init makes them."""
        if name == "dry":
            return self._dry(params)
        if name == "penalties":
            last_n = self._last_n(params.repeat_last_n)
            numbers = (params.repeat_penalty, params.frequency_penalty, params.presence_penalty)
            return llama_cpp.llama_sampler_init_penalties(self._n_vocab, last_n, *numbers)
        return _PLAIN[name](params)

    def _draw(self, plan: Recipe, params: SamplingParams) -> Any:
        seed, tau, eta = _seed(params), params.mirostat_tau, params.mirostat_eta
        match plan.draw:
            case "mirostat":
                init = llama_cpp.llama_sampler_init_mirostat
                return init(self._n_vocab, seed, tau, eta, _MIROSTAT_M)
            case "mirostat_v2":
                return llama_cpp.llama_sampler_init_mirostat_v2(seed, tau, eta)
            case "adaptive_p":
                init = llama_cpp.llama_sampler_init_adaptive_p
                return init(params.adaptive_target, params.adaptive_decay, seed)
            case _:
                return llama_cpp.llama_sampler_init_dist(seed)

    def _dry(self, params: SamplingParams) -> Any:
        """A copy of one that is kept: the search takes 10 to 15 ms a breaker on 151,000 tokens."""
        key = self._dry_key(params)
        with self._lock:
            if kept := self._kept.get(key):
                return llama_cpp.llama_sampler_clone(kept)
        *numbers, breakers = key
        texts = [breaker.encode() for breaker in breakers]
        array = (ctypes.c_char_p * len(texts))(*texts)
        made = llama_cpp.llama_sampler_init_dry(self._vocab, *numbers, array, len(texts))
        with self._lock:
            if key not in self._kept:
                self._kept[key] = llama_cpp.llama_sampler_clone(made)
            if len(self._kept) > _MAX_KEPT:
                llama_cpp.llama_sampler_free(self._kept.popitem(last=False)[1])
        return made

    def _dry_key(self, params: SamplingParams) -> tuple[Any, ...]:
        """All that it is made of."""
        return (
            params.dry_multiplier,
            params.dry_base,
            params.dry_allowed_length,
            self._last_n(params.dry_penalty_last_n),
            params.dry_sequence_breakers,
        )


class Sampler:
    """One sequence's. `close` frees what is native."""

    def __init__(
        self,
        plan: Recipe,
        by_id: list[Any],
        chain: Any,
        biases: dict[int, float],
        written: "_Written",
        end: int,
        scratch: Candidates,
    ) -> None:
        self._plan, self._by_id, self._chain, self._end = plan, by_id, chain, end
        self._written, self._all = written, scratch
        self._bias_ids = np.array([*biases], dtype=np.intp)
        self._biases = np.array([*biases.values()], dtype=np.float32)
        self._left: Candidates | None = None  # of the last row
        self._natives = by_id if chain is None else [*by_id, chain]
        self._adjusts = bool(biases or by_id)  # the logits

    def sample(self, logits: Logits) -> int:
        """The next token of this sequence, which counts as written. Writes to `logits`.

        The rows of a draft come in their order; the first whose token is not the draft's is the
        last one.
        """
        if self._adjusts:
            self._adjust(logits)
        token = self._greedy(logits) if self._chain is None else self._drawn(logits)
        self._written.add((token,))
        for native in self._natives:
            _accept(native, (token,))
        return token

    def left(self, token: int, n_top: int) -> Told:
        """The last row's logprobs as the samplers left them. Asked before another one is drawn."""
        if self._left is None:
            return 0.0, [(token, 0.0)][:n_top]
        return left_logprobs(self._left["id"], self._left["p"], token, n_top)

    def close(self) -> None:
        for native in self._natives:
            llama_cpp.llama_sampler_free(native)
        self._natives, self._by_id, self._chain = [], [], None

    def _adjust(self, logits: Logits) -> None:
        """Biases; then what looks back, on the tokens that were written."""
        if self._bias_ids.size:
            logits[self._bias_ids] += self._biases
        ids = self._written.ids()
        if ids.size:
            candidates = _candidates(ids, logits)
            for native in self._by_id:
                llama_cpp.llama_sampler_apply(native, _array(candidates, is_sorted=False))
            logits[ids] = candidates["logit"]

    def _greedy(self, logits: Logits) -> int:
        best = int(logits.argmax())
        if logits[best] > -np.inf:
            return best
        found = likeliest(logits, 1)  # NaN is argmax's favourite
        return int(found[0]) if found.size else self._end

    def _drawn(self, logits: Logits) -> int:
        self._left = None
        candidates = self._candidates(logits)
        if not candidates.size:  # a structure is through, and ends are forbidden
            return self._end
        array = _array(candidates, is_sorted=self._plan.n_top is not None)
        llama_cpp.llama_sampler_apply(self._chain, array)
        skipped = _address(array.data) - candidates.ctypes.data  # XTC cuts the likeliest off
        first = skipped // _CANDIDATE.itemsize
        left = candidates[first : first + array.size]
        chosen = left[array.selected]
        if np.isnan(chosen["p"]):  # a temperature so low that logits overflow
            return self._greedy(logits)
        self._left = left
        return int(chosen["id"])

    def _candidates(self, logits: Logits) -> Candidates:
        plan = self._plan
        if plan.n_top is not None:
            return _candidates(likeliest(logits, plan.n_top), logits)
        if plan.above is not None:
            return _candidates(at_least(logits, plan.above), logits)
        if logits.min() > -np.inf:
            self._all["id"], self._all["logit"] = np.arange(logits.size), logits
            return self._all
        return _candidates(possible(logits), logits)


class _Written:
    """The last `n` tokens, as a set of ids."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._tokens: deque[int] = deque()
        self._counts: Counter[int] = Counter()

    def add(self, tokens: Sequence[int]) -> None:
        if not self.n:
            return
        self._tokens.extend(tokens)
        self._counts.update(tokens)
        while len(self._tokens) > self.n:
            old = self._tokens.popleft()
            self._counts[old] -= 1
            if not self._counts[old]:
                del self._counts[old]

    def ids(self) -> npt.NDArray[np.intp]:
        return np.fromiter(self._counts, dtype=np.intp, count=len(self._counts))


def _last(tokens: Sequence[int], n: int) -> Sequence[int]:
    return tokens[-n:] if n else ()


def _accept(native: Any, tokens: Sequence[int]) -> None:
    accept = llama_cpp.llama_sampler_accept
    for token in tokens:
        accept(native, token)


def _candidates(ids: npt.NDArray[np.intp], logits: Logits) -> Candidates:
    candidates = np.empty(ids.size, dtype=_CANDIDATE)
    candidates["id"], candidates["logit"] = ids, logits[ids]  # whoever needs "p" computes it
    return candidates


def _array(candidates: Candidates, *, is_sorted: bool) -> Any:
    data = ctypes.cast(candidates.ctypes.data, llama_cpp.llama_token_data_p)
    return llama_cpp.llama_token_data_array(data, candidates.size, -1, is_sorted)


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def _chained(samplers: list[Any]) -> Any:
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for sampler in samplers:
        llama_cpp.llama_sampler_chain_add(chain, sampler)
    return chain


def samplers_of(vocab: Vocab, n_ctx_seq: int) -> Samplers:
    never = suppressed(vocab.raw)
    return Samplers(vocab.raw, vocab.n_tokens, n_ctx_seq, ends=vocab.ends, suppressed=never)


def suppressed(vocab: Any) -> list[int]:
    """Tokens that the model's file says must never be drawn."""
    n = ctypes.c_int32()
    tokens = llama_cpp.llama_vocab_get_suppress_tokens(vocab, ctypes.byref(n))
    return [tokens[i] for i in range(n.value)]


def _seed(params: SamplingParams) -> int:
    return secrets.randbits(32) if params.seed is None else params.seed & 0xFFFFFFFF


def _temperature(params: SamplingParams) -> Any:
    cold = params.temperature < MIN_TEMPERATURE
    reach = 0.0 if params.mirostat else params.dynatemp_range
    return llama_cpp.llama_sampler_init_temp_ext(
        0.0 if cold else params.temperature, reach, params.dynatemp_exponent
    )


def _xtc(params: SamplingParams) -> Any:
    numbers = (params.xtc_probability, params.xtc_threshold, params.min_keep)
    return llama_cpp.llama_sampler_init_xtc(*numbers, _seed(params))


_PLAIN: Mapping[SamplerName, Callable[[SamplingParams], Any]] = {
    "top_n_sigma": lambda params: llama_cpp.llama_sampler_init_top_n_sigma(params.top_n_sigma),
    "top_k": lambda params: llama_cpp.llama_sampler_init_top_k(params.top_k),
    "typ_p": lambda one: llama_cpp.llama_sampler_init_typical(one.typical_p, one.min_keep),
    "top_p": lambda params: llama_cpp.llama_sampler_init_top_p(params.top_p, params.min_keep),
    "min_p": lambda params: llama_cpp.llama_sampler_init_min_p(params.min_p, params.min_keep),
    "xtc": _xtc,
    "temperature": _temperature,
}
