"""What sampling costs, and whether the short way gives what the long one gives.

    python scripts/bench/sampling.py --model q06.gguf [--sequences 8] [--rounds 200]

One batch is decoded, a row for each sequence; each row is then sampled again and again, by
llama.cpp's whole chain (made as llama-server makes it, called with llama_sampler_sample) and by
edgellm's. Milliseconds are for all rows of a step; "same" counts the tokens that are equal;
logits that are equal are told apart before.
"""

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import llama_cpp
import numpy as np
from llguidance.llamacpp import lltokenizer_from_vocab

from edgellm.chat.messages import JSONSchema, SamplingParams
from edgellm.runner.llama.sampling import Samplers
from edgellm.runner.sampling.masks import Masks

SEED = 5
SCHEMA = JSONSchema(
    """{"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"},
    "tags": {"type": "array", "items": {"type": "string"}}}, "required": ["name", "age", "tags"]}"""
)
LOADS = {
    "greedy": SamplingParams(temperature=0.0),
    "greedy, penalties": SamplingParams(temperature=0.0, repeat_penalty=1.1),
    "defaults": SamplingParams(),
    "defaults, penalties": SamplingParams(repeat_penalty=1.1, presence_penalty=0.5),
    "defaults, DRY": SamplingParams(dry_multiplier=0.8),
    "top-k 256, XTC": SamplingParams(top_k=256, xtc_probability=0.5),
    "top-n-sigma": SamplingParams(top_n_sigma=1.0),
    "top-p without top-k": SamplingParams(top_k=0, min_p=0.0),
    "min-p without top-k": SamplingParams(top_k=0, top_p=1.0),
    "mirostat 2": SamplingParams(mirostat=2),
}


class Model:
    def __init__(self, path: str, n_sequences: int) -> None:
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p())
        self.model = llama_cpp.llama_model_load_from_file(
            path.encode(), llama_cpp.llama_model_default_params()
        )
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_seq_max = 64 * n_sequences, n_sequences
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        batch = llama_cpp.llama_batch_init(n_sequences, 0, 1)
        batch.n_tokens = n_sequences
        for i in range(n_sequences):
            batch.token[i], batch.pos[i], batch.logits[i] = 100 + i, 0, 1
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, i
        if llama_cpp.llama_decode(self.context, batch):
            raise SystemExit("the batch could not be decoded")
        rows = [llama_cpp.llama_get_logits_ith(self.context, i) for i in range(n_sequences)]
        self.rows = [np.ctypeslib.as_array(row, shape=(self.n_vocab,)) for row in rows]
        for row in self.rows:  # llama.cpp's order among equal logits is its own
            row[np.argsort(row)] += np.arange(self.n_vocab, dtype=np.float32) * 1e-6
            assert np.unique(row).size == self.n_vocab

    def whole_chain(self, params: SamplingParams) -> Any:
        """As common/sampling.cpp: common_sampler_init."""
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        parts = _mirostat(params) if params.mirostat else self._parts(params)
        for part in parts:
            llama_cpp.llama_sampler_chain_add(chain, part)
        return chain

    def _parts(self, p: SamplingParams) -> list[Any]:
        texts = (ctypes.c_char_p * 4)(*(one.encode() for one in p.dry_sequence_breakers))
        return [
            llama_cpp.llama_sampler_init_penalties(
                self.n_vocab, p.repeat_last_n, p.repeat_penalty, p.frequency_penalty,
                p.presence_penalty,
            ),
            llama_cpp.llama_sampler_init_dry(
                self.vocab, p.dry_multiplier, p.dry_base, p.dry_allowed_length,
                p.dry_penalty_last_n, texts, 4,
            ),
            llama_cpp.llama_sampler_init_top_n_sigma(p.top_n_sigma),
            llama_cpp.llama_sampler_init_top_k(p.top_k),
            llama_cpp.llama_sampler_init_typical(p.typical_p, p.min_keep),
            llama_cpp.llama_sampler_init_top_p(p.top_p, p.min_keep),
            llama_cpp.llama_sampler_init_min_p(p.min_p, p.min_keep),
            llama_cpp.llama_sampler_init_xtc(p.xtc_probability, p.xtc_threshold, p.min_keep, SEED),
            llama_cpp.llama_sampler_init_temp_ext(
                p.temperature, p.dynatemp_range, p.dynatemp_exponent
            ),
            llama_cpp.llama_sampler_init_dist(SEED),
        ]  # fmt: skip


def _mirostat(p: SamplingParams) -> list[Any]:
    return [
        llama_cpp.llama_sampler_init_temp(p.temperature),
        llama_cpp.llama_sampler_init_mirostat_v2(SEED, p.mirostat_tau, p.mirostat_eta),
    ]


@llama_cpp.llama_log_callback
def _silent(level: int, text: bytes, data: Any) -> None:
    pass


def measured(step: Callable[[], list[int]], rounds: int) -> tuple[float, list[list[int]]]:
    """The median in milliseconds, and all tokens."""
    times, tokens = [], []
    for _ in range(rounds):
        begun_s = time.perf_counter()
        tokens.append(step())
        times.append(time.perf_counter() - begun_s)
    return 1000 * statistics.median(times), tokens


def mask_ms(model: Model, kept: list[Any], factory: Samplers, rounds: int) -> float:
    """What a JSON schema adds to a step: its masks applied, its tokens accepted."""
    ends = [t for t in range(model.n_vocab) if llama_cpp.llama_vocab_is_eog(model.vocab, t)]
    compiler = Masks(lltokenizer_from_vocab(model.vocab, eos_token=ends), model.n_vocab)
    masks = [compiler.compile(SCHEMA) for _ in kept]
    samplers = [factory.start(SamplingParams(temperature=2.0), ()) for _ in kept]
    times = []
    for _ in range(rounds):
        step_s = 0.0
        for i, (row, sampler) in enumerate(zip(kept, samplers, strict=True)):
            logits = row.copy()
            begun_s = time.perf_counter()
            masks[i].apply(logits)
            applied_s = time.perf_counter()
            token = sampler.sample(logits)
            sampled_s = time.perf_counter()
            if token not in ends:
                masks[i].accept(token)
            step_s += applied_s - begun_s + time.perf_counter() - sampled_s
            if token in ends or masks[i].complete:
                masks[i] = compiler.compile(SCHEMA)
        times.append(step_s)
    return 1000 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, metavar="GGUF")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=100)
    args = parser.parse_args()
    model = Model(args.model, args.sequences)
    factory = Samplers(model.vocab, model.n_vocab, 4096, ends=[0])
    kept = [row.copy() for row in model.rows]
    print(f"{args.sequences} rows of {model.n_vocab}, ms a step\n")
    print(f"{'':22}{'llama.cpp':>10}{'edgellm':>9}{'same':>8}")
    for name, given in LOADS.items():
        params = replace(given, seed=SEED)
        chains = [model.whole_chain(params) for _ in kept]
        ours = [factory.start(params, ()) for _ in kept]

        def whole(chains: list[Any] = chains) -> list[int]:
            context = model.context
            return [llama_cpp.llama_sampler_sample(one, context, i) for i, one in enumerate(chains)]

        def short(ours: list[Any] = ours) -> list[int]:
            # A step's logits are fresh; here the copy of a row takes their place, and is counted.
            return [one.sample(row.copy()) for one, row in zip(ours, kept, strict=True)]

        whole_ms, expected = measured(whole, args.rounds)
        short_ms, found = measured(short, args.rounds)
        same = int((np.array(expected) == np.array(found)).sum())
        total = args.rounds * args.sequences
        print(f"{name:22}{whole_ms:10.2f}{short_ms:9.2f}{same:>5}/{total}", flush=True)
    schema_ms = mask_ms(model, kept, factory, args.rounds)
    print(f"\na JSON schema's masks {schema_ms:20.2f}")


if __name__ == "__main__":
    main()
