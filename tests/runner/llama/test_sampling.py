"""Held against llama.cpp's whole chain on the whole vocabulary, made as llama-server makes it."""

import ctypes
import time
from collections import Counter
from dataclasses import replace

import llama_cpp
import numpy as np
import pytest
from real_model import demo_path

from edgellm.chat.messages import SAMPLERS, SamplingParams
from edgellm.runner.llama.sampling import Samplers, suppressed
from edgellm.runner.sampling.recipe import recipe

N_VOCAB, N_CTX, END = 6000, 512, 2
N_STEPS = 60
PROMPT = [7, 8, 9, 7, 8, 9, 7, 8, 9, 7, 8]
CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


@pytest.fixture(scope="module")
def vocab():
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(bytes(demo_path()), params)
    yield llama_cpp.llama_model_get_vocab(model)
    llama_cpp.llama_model_free(model)


@pytest.fixture
def samplers(vocab):
    return Samplers(vocab, N_VOCAB, N_CTX, ends=[END])


def native(name, params, vocab):
    init = {
        "penalties": lambda: llama_cpp.llama_sampler_init_penalties(
            N_VOCAB, params.repeat_last_n, params.repeat_penalty,
            params.frequency_penalty, params.presence_penalty,
        ),
        "dry": lambda: llama_cpp.llama_sampler_init_dry(
            vocab, params.dry_multiplier, params.dry_base, params.dry_allowed_length,
            params.dry_penalty_last_n, None, 0,
        ),
        "top_n_sigma": lambda: llama_cpp.llama_sampler_init_top_n_sigma(params.top_n_sigma),
        "top_k": lambda: llama_cpp.llama_sampler_init_top_k(params.top_k),
        "typ_p": lambda: llama_cpp.llama_sampler_init_typical(params.typical_p, params.min_keep),
        "top_p": lambda: llama_cpp.llama_sampler_init_top_p(params.top_p, params.min_keep),
        "min_p": lambda: llama_cpp.llama_sampler_init_min_p(params.min_p, params.min_keep),
        "xtc": lambda: llama_cpp.llama_sampler_init_xtc(
            params.xtc_probability, params.xtc_threshold, params.min_keep, params.seed
        ),
        "temperature": lambda: llama_cpp.llama_sampler_init_temp_ext(
            params.temperature, params.dynatemp_range, params.dynatemp_exponent
        ),
    }  # fmt: skip
    return init[name]()


def last_of(params):
    if params.mirostat == 1:
        return llama_cpp.llama_sampler_init_mirostat(
            N_VOCAB, params.seed, params.mirostat_tau, params.mirostat_eta, 100
        )
    if params.mirostat == 2:
        return llama_cpp.llama_sampler_init_mirostat_v2(
            params.seed, params.mirostat_tau, params.mirostat_eta
        )
    if "adaptive_p" in params.samplers:
        return llama_cpp.llama_sampler_init_adaptive_p(
            params.adaptive_target, params.adaptive_decay, params.seed
        )
    return llama_cpp.llama_sampler_init_dist(params.seed)


class WholeChain:
    def __init__(self, params, vocab, prompt=()):
        defaults = llama_cpp.llama_sampler_chain_default_params()
        self.chain = llama_cpp.llama_sampler_chain_init(defaults)
        self.biases = dict(params.logit_bias)
        names = ("temperature",) if params.mirostat else params.samplers
        parts = [native(name, params, vocab) for name in names if name != "adaptive_p"]
        for part in [*parts, last_of(params)]:
            llama_cpp.llama_sampler_chain_add(self.chain, part)
        for token in prompt:
            self.accept(token)

    def choose(self, logits, is_sorted=False):
        """Sorted: equal logits by their ids."""
        logits = logits.copy()
        for token, bias in self.biases.items():
            logits[token] += np.float32(bias)
        order = np.argsort(-logits, kind="stable") if is_sorted else np.arange(logits.size)
        row = np.empty(logits.size, dtype=CANDIDATE)
        row["id"], row["logit"], row["p"] = order, logits[order], 0
        row = row[row["logit"] > -np.inf]
        data = ctypes.cast(row.ctypes.data, llama_cpp.llama_token_data_p)
        array = llama_cpp.llama_token_data_array(data, row.size, -1, is_sorted)
        llama_cpp.llama_sampler_apply(self.chain, array)
        return array.data[array.selected].id

    def accept(self, token):
        llama_cpp.llama_sampler_accept(self.chain, token)


def peaked(random):
    """As a model's: most tokens impossible, some dozens thinkable."""
    logits = random.normal(size=N_VOCAB).astype(np.float32)
    logits[random.integers(0, N_VOCAB, size=60)] += random.gamma(4.0, 1.5, size=60)
    logits[PROMPT] += 6
    return logits.astype(np.float32)


CASES = {
    "defaults": {},
    "greedy": {"temperature": 0.0},
    "greedy with penalties": {"temperature": 0.0, "repeat_penalty": 1.3, "presence_penalty": 1.0},
    "greedy with DRY": {"temperature": 0.0, "dry_multiplier": 4.0},
    "top-k alone": {"top_p": 1.0, "min_p": 0.0},
    "top-k of one": {"top_k": 1},
    "a large top-k": {"top_k": 1000, "top_p": 0.99, "min_p": 0.0, "temperature": 1.5},
    "top-k of all": {"top_k": N_VOCAB, "min_p": 0.0},
    "top-k of more than all": {"top_k": 10 * N_VOCAB, "min_p": 0.0},
    "all three penalties": {
        "repeat_penalty": 1.2, "frequency_penalty": 0.7, "presence_penalty": -0.4,
    },
    "a short look back": {"repeat_penalty": 1.5, "repeat_last_n": 3},
    "a look back on all": {"repeat_penalty": 1.3, "presence_penalty": 0.4, "repeat_last_n": N_CTX},
    "a look back on all that counts": {"frequency_penalty": 0.3, "repeat_last_n": N_CTX},
    "rewards": {"repeat_penalty": 0.7, "frequency_penalty": -1.0, "repeat_last_n": 256},
    "DRY": {"dry_multiplier": 2.0, "dry_allowed_length": 1},
    "DRY and penalties": {
        "dry_multiplier": 2.0, "dry_penalty_last_n": 20, "repeat_penalty": 1.1,
    },
    "biases": {"logit_bias": ((7, 3.5), (11, -100.0), (4000, 8.0), (9, -np.inf))},
    "top-n-sigma": {"top_n_sigma": 1.0},
    "top-n-sigma, no top-k": {"top_n_sigma": 1.5, "top_k": 0},
    "typical": {"typical_p": 0.7},
    "XTC": {"xtc_probability": 0.7, "xtc_threshold": 0.05},
    "XTC that keeps some": {"xtc_probability": 1.0, "xtc_threshold": 0.02, "min_keep": 5},
    "min-keep": {"min_keep": 7, "top_p": 0.1, "min_p": 0.9},
    "dynamic temperature": {"dynatemp_range": 0.6, "dynatemp_exponent": 1.4},
    "dynamic from zero": {"temperature": 0.0, "dynatemp_range": 1.5},
    "XTC at zero": {"temperature": 0.0, "xtc_probability": 1.0, "xtc_threshold": 0.02},
    "no top-k": {"top_k": 0},
    "min-p alone": {"top_k": 0, "top_p": 1.0, "min_p": 0.02},
    "min-p of one": {"top_k": 0, "top_p": 1.0, "min_p": 1.0},
    "min-p that keeps some": {"top_k": 0, "top_p": 1.0, "min_p": 0.9, "min_keep": 4},
    "nothing at all": {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0},
    "temperature first": {"samplers": ("temperature", "top_k", "top_p", "min_p")},
    "penalties last": {"samplers": ("top_k", "penalties", "dry"), "repeat_penalty": 1.4,
                       "dry_multiplier": 1.0},
    "DRY first, penalties last": {
        "samplers": ("dry", "top_k", "penalties"), "repeat_penalty": 1.4, "repeat_last_n": 4,
        "dry_multiplier": 1.0, "dry_penalty_last_n": 9, "dry_allowed_length": 1,
    },
    "no temperature": {"samplers": ("top_k",), "temperature": 0.0},
    "no samplers": {"samplers": ()},
    "mirostat": {"mirostat": 1, "mirostat_tau": 3.0},
    "mirostat 2": {"mirostat": 2, "temperature": 1.2, "repeat_penalty": 1.5},
    "adaptive": {"samplers": (*SAMPLERS, "adaptive_p"), "adaptive_target": 0.3},
    "adaptive, off": {"samplers": (*SAMPLERS, "adaptive_p")},
}  # fmt: skip


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_a_token_is_the_one_of_the_whole_chain(samplers, vocab, changes):
    breakers = {"dry_sequence_breakers": ()}
    params = replace(SamplingParams(), seed=42, **(breakers | changes))
    ours = samplers.start(params, PROMPT)
    whole = WholeChain(params, vocab, PROMPT)
    random = np.random.default_rng(3)
    for _ in range(N_STEPS):
        logits = peaked(random)
        expected = whole.choose(logits)
        whole.accept(expected)
        assert ours.sample(logits.copy()) == expected
    ours.close()


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_of_equal_tokens_the_lowest_id_comes_first(samplers, vocab, changes):
    """Where penalties make llama.cpp sort again, its order among equals is its own: then the token
    is one with the same logit."""
    params = replace(SamplingParams(), seed=7, **({"dry_sequence_breakers": ()} | changes))
    ours, whole = samplers.start(params, PROMPT), WholeChain(params, vocab, PROMPT)
    plan = recipe(params)
    is_sorted, is_moved = plan.n_top is not None or plan.draw == "greedy", bool(plan.by_id)
    random = np.random.default_rng(4)
    for _ in range(N_STEPS):
        row = np.round(peaked(random))
        expected = whole.choose(row, is_sorted)
        chosen = ours.sample(row)
        assert row[chosen] == row[expected]
        assert chosen == expected or is_moved
        whole.accept(chosen)


def test_the_same_seed_gives_the_same_tokens_whoever_is_sampled_between(samplers):
    def tokens(neighbours):
        params = SamplingParams(seed=11, xtc_probability=0.5, repeat_penalty=1.1)
        one = samplers.start(params, PROMPT)
        others = [samplers.start(SamplingParams(seed=11), PROMPT) for _ in range(neighbours)]
        random, beside = np.random.default_rng(8), np.random.default_rng(9)
        found = []
        for _ in range(N_STEPS):
            for other in others:
                other.sample(peaked(beside))
            found.append(one.sample(peaked(random)))
        return found

    assert tokens(0) == tokens(5)


def test_another_seed_gives_other_tokens_and_no_seed_gives_any(samplers):
    def tokens(seed):
        sampler = samplers.start(SamplingParams(seed=seed, temperature=2.0, min_p=0.0), PROMPT)
        random = np.random.default_rng(8)
        return tuple(sampler.sample(peaked(random)) for _ in range(N_STEPS))

    assert len({tokens(1), tokens(2), tokens(None), tokens(None)}) == 4


def test_tokens_are_drawn_as_often_as_they_are_likely(samplers):
    params = SamplingParams(top_p=1.0, min_p=0.0, temperature=1.0, seed=1)
    sampler = samplers.start(params, ())
    logits = np.full(N_VOCAB, -np.inf, dtype=np.float32)
    logits[[5, 50, 500]] = np.log([0.2, 0.3, 0.5])
    drawn = Counter(sampler.sample(logits.copy()) for _ in range(4000))
    assert {token: n / 4000 for token, n in drawn.items()} == pytest.approx(
        {5: 0.2, 50: 0.3, 500: 0.5}, abs=0.03
    )


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.0}, {"top_k": 0}, {"mirostat": 1}])
def test_what_is_forbidden_is_no_candidate(samplers, changes):
    sampler = samplers.start(SamplingParams(seed=3, ignore_eos=True, **changes), ())
    logits = np.full(N_VOCAB, -np.inf, dtype=np.float32)
    logits[[END, 600, 601]] = 9.0, 1.0, 1.0
    for _ in range(20):
        assert sampler.sample(logits.copy()) in (600, 601)


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.0}, {"top_k": 0}, {"mirostat": 2}])
def test_where_nothing_may_follow_the_answer_ends(samplers, changes):
    sampler = samplers.start(SamplingParams(ignore_eos=True, **changes), ())
    logits = np.full(N_VOCAB, -np.inf, dtype=np.float32)
    logits[END] = 1.0
    assert sampler.sample(logits) == END


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.0}, {"top_k": 0}])
def test_what_is_no_number_is_never_drawn(samplers, changes):
    sampler = samplers.start(SamplingParams(seed=3, **changes), ())
    logits = np.full(N_VOCAB, np.nan, dtype=np.float32)
    logits[77] = 1.0
    assert sampler.sample(logits) == 77


def test_a_bias_outside_of_the_vocabulary_does_nothing(samplers):
    sampler = samplers.start(SamplingParams(temperature=0.0, logit_bias=((N_VOCAB, 100.0),)), ())
    logits = np.zeros(N_VOCAB, dtype=np.float32)
    logits[5] = 1.0
    assert sampler.sample(logits) == 5


def test_a_file_may_forbid_tokens(vocab):
    assert suppressed(vocab) == []
    sampler = Samplers(vocab, N_VOCAB, N_CTX, ends=[END], suppressed=[5])
    logits = np.zeros(N_VOCAB, dtype=np.float32)
    logits[[5, 6]] = 2.0, 1.0
    assert sampler.start(SamplingParams(temperature=0.0), ()).sample(logits) == 6


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"temperature": 0.0}, {500: 1.0}),
        ({"top_k": 2, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0}, {500: 0.625, 50: 0.375}),
        (
            {"xtc_probability": 1.0, "xtc_threshold": 0.25, "temperature": 1.0, "top_p": 1.0,
             "min_p": 0.0},
            {50: 0.6, 5: 0.4},
        ),
    ],
)  # fmt: skip
def test_what_the_samplers_left_is_told(samplers, changes, expected):
    sampler = samplers.start(SamplingParams(seed=1, **changes), ())
    logits = np.full(N_VOCAB, -np.inf, dtype=np.float32)
    logits[[5, 50, 500]] = np.log([0.2, 0.3, 0.5])
    token = sampler.sample(logits)
    own, top = sampler.left(token, 5)
    assert {i: np.exp(p) for i, p in top} == pytest.approx(expected, abs=1e-5)
    assert np.exp(own) == pytest.approx(expected[token], abs=1e-5)


def n_accepted(sampler):
    return llama_cpp.llama_perf_sampler(sampler._chain).n_sample


def test_a_chain_that_looks_back_on_nothing_is_not_told_the_prompt(samplers):
    plain = SamplingParams(repeat_penalty=1.1, dry_multiplier=1.0, dry_sequence_breakers=())
    last = replace(plain, samplers=("top_k", "penalties"), repeat_last_n=3)
    for params, n in ((plain, 0), (last, 3)):
        sampler = samplers.start(params, PROMPT)
        assert n_accepted(sampler) == n
        sampler.close()


def test_penalties_that_do_not_count_are_told_each_token_of_a_long_prompt_once(vocab):
    samplers = Samplers(vocab, N_VOCAB, 40_000, ends=[END])

    def took_s(**penalties):
        params = SamplingParams(repeat_last_n=-1, repeat_penalty=1.1, **penalties)
        begun_s = time.thread_time()
        samplers.start(params, PROMPT * 2500).close()
        return time.thread_time() - begun_s

    once_s, counted_s = (
        min(took_s(frequency_penalty=each) for _ in range(5)) for each in (0.0, 0.1)
    )
    assert once_s < counted_s / 3


def test_dry_looks_for_its_breakers_once_and_never_repeats_across_one(vocab, samplers):
    tokens = (llama_cpp.llama_token * 8)()
    n = llama_cpp.llama_tokenize(vocab, b"a\nb", 3, tokens, 8, False, False)
    newline = next(
        t for t in tokens[:n] if b"\n" in llama_cpp.llama_vocab_get_text(vocab, t)
        or llama_cpp.llama_vocab_get_text(vocab, t) == b"<0x0A>"
    )  # fmt: skip
    params = SamplingParams(temperature=0.0, dry_multiplier=5.0, dry_allowed_length=1)
    assert not samplers.is_warm(params)
    samplers.warm(params)
    assert samplers.is_warm(params)
    repeating = [20, 21, 22, 23, 20, 21, 22]  # 23 would repeat four
    broken = [20, 21, newline, 23, 20, 21, newline]
    logits = np.zeros(N_VOCAB, dtype=np.float32)
    logits[[23, 30]] = 2.0, 1.0
    assert samplers.start(params, repeating).sample(logits.copy()) == 30
    assert samplers.start(params, broken).sample(logits.copy()) == 23
