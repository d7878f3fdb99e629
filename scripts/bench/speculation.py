"""What guessing tokens wins and what it can cost: speculation on against off, interleaved.

    python scripts/bench/speculation.py MODEL.gguf [--draft DRAFT.gguf] [--pairs 7]

The model is real and so is every step: all rows are computed and sampled. Only what comes out is
replaced by a transcript, so that a text of known kind is written whatever the weights are:

    edit     a file of code is written again, with a word changed here and there
    random   tokens drawn from the whole vocabulary: nothing repeats
    babble   tokens drawn from fifty: what is found by looking back is nearly always wrong

Of each kind: tokens a second of `--streams` streams together, off and on in turns; the median of
the ratios of the pairs with the range of the middle half, and how many guesses came true. With
`--draft` the text is the model's own, greedy, and the draft model guesses. On a machine that has
other things to do, `--threads 1 --cpu-time` counts what the process computed, not what it waited.
"""

import argparse
import os
import random
import re
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.models.local import read_spec
from edgellm.runner.batch import Batch, Sampled, Start
from edgellm.runner.llama.backend import LlamaBackend
from edgellm.runner.llama.draft import DraftingBackend
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence
from edgellm.selector.plan import Goal, Placement, Plan
from edgellm.selector.search.settings import draft_rows

_SOURCE = Path(__file__).resolve().parents[2] / "edgellm" / "runner" / "scheduler.py"
_N_SOURCE, _N_ANSWER = 200, 120  # tokens
_STARTS = ("Once upon a time", "One day, a girl", "The sun was", "Tom and Lily went to the park")


class Dictated(LlamaBackend):
    """Samples each row as ever, and then says what the transcript says."""

    def __init__(self, path: bytes, shape: Plan, on_progress) -> None:
        super().__init__(path, shape, on_progress)
        self.transcripts: dict[int, list[int]] = {}  # by request
        self._left: dict[int, list[int]] = {}  # by sequence id
        self._own, self._drawing.draw = self._drawing.draw, self._dictated

    def decode(self, batch: Batch):
        for op in batch.ops:
            if isinstance(op, Start) and op.request_id in self.transcripts:
                self._left[op.seq_id] = self.transcripts[op.request_id][::-1]
        return super().decode(batch)

    def _dictated(self, seq_id: int, row: int) -> Sampled:
        sampled = self._own(seq_id, row)
        left = self._left.get(seq_id)
        return Sampled(left.pop(), ends=False, silent=False) if left else sampled


clock = time.perf_counter


@dataclass(frozen=True, slots=True)
class Run:
    tok_s: float
    n_drafted: int
    n_accepted: int


def edited(text: str) -> str:
    """As if a name had been changed, a remark put in and a line left out here and there."""
    lines = []
    for i, line in enumerate(text.splitlines()):
        if i % 11 == 7:
            continue
        lines.append(re.sub(r"\bsequence\b", "request", line) if i % 4 == 0 else line)
        if i % 13 == 5:
            lines.append("        # checked")
    return "\n".join(lines)


def texts(kind: str, backend: LlamaBackend, seed: int) -> tuple[list[int], list[int]]:
    """The prompt and what is to be answered: of "own", only how long it gets."""
    rng = random.Random(seed)
    if kind == "own":
        start = backend.tokenize(rng.choice(_STARTS), True)
        return start, [0] * _N_ANSWER
    if kind == "edit":
        source = _SOURCE.read_text()
        source = source[source.index("class Scheduler") :]
        prompt = backend.tokenize(source, True)[:_N_SOURCE]
        text = b"".join(backend.piece(token) for token in prompt).decode("utf-8", "replace")
        return prompt, backend.tokenize(edited(text), False)[:_N_ANSWER]
    vocabulary = range(backend.n_vocab) if kind == "random" else range(1000, 1050)
    ends = set(backend._vocab.ends)
    drawn = [t for t in rng.choices(vocabulary, k=3 * _N_ANSWER) if t not in ends]
    return drawn[:_N_ANSWER], drawn[_N_ANSWER : 2 * _N_ANSWER]


def plan(path: Path, n_streams: int, n_threads: int, **changes) -> Plan:
    """With as many rows for guesses as any plan has."""
    n_draft, n_back = draft_rows(read_spec(path), Goal(), n_streams)
    values = {
        "model": "bench", "file": str(path), "quant": "?", "placement": Placement((), 0),
        "n_ctx": 1024 * n_streams, "n_ctx_seq": 1024, "n_parallel": n_streams,
        "n_seq_max": n_streams, "kv_type_k": "f16", "kv_type_v": "f16",
        "kv_unified": n_streams == 1, "n_batch": 512, "n_ubatch": 512,
        "n_outputs_max": n_streams + n_draft, "n_rs_seq": n_back,
        "n_threads": n_threads, "flash_attention": None, "swa_full": False, "speculate": "ngram",
    }  # fmt: skip
    return Plan(**(values | changes))


def run(scheduler: Scheduler, backend: LlamaBackend, pairs, n_draft_max: int | None) -> Run:
    """One wave of requests; the time from the last first token to the first end."""
    params = GenerateParams(
        SamplingParams(temperature=0, ignore_eos=True), n_draft_max=n_draft_max, cache_prompt=False
    )
    sequences = []
    for i, (prompt, answer) in enumerate(pairs):
        n_max = len(prompt) + len(answer)
        sequences.append(Sequence(i, list(prompt), n_max, params))
        scheduler.add(sequences[-1])
    begun_s = ended_s = None
    n_begun = 0
    while batch := scheduler.schedule():
        before_s = clock()
        step = backend.decode(batch)
        took_s = clock() - before_s
        n_decode = len(batch.rows) - batch.n_prompt_rows
        scheduler.pace.observe(batch.n_prompt_rows, n_decode, took_s - step.draft_s)
        scheduler.speculation.observe(batch, step, took_s)
        list(scheduler.commit(batch, step.sampled, step.n_drafted))
        if begun_s is None and all(s.n_output for s in sequences):
            begun_s, n_begun = clock(), sum(s.n_output for s in sequences)
        if ended_s is None and any(s.finish_reason for s in sequences):
            ended_s, n_ended = clock(), sum(s.n_output for s in sequences)
    if isinstance(backend, Dictated):
        for sequence, (_, answer) in zip(sequences, pairs, strict=True):
            assert sequence.tokens[sequence.n_prompt :] == answer, "not what was dictated"
    return Run(
        (n_ended - n_begun) / (ended_s - begun_s),
        sum(s.n_drafted for s in sequences),
        sum(s.n_draft_accepted for s in sequences),
    )


def compare(kind: str, backend: LlamaBackend, scheduler: Scheduler, n_streams, n_pairs) -> None:
    ratios, offs, ons = [], [], []
    for pair in range(n_pairs):
        wave = [texts(kind, backend, 100 * pair + i) for i in range(n_streams)]
        if isinstance(backend, Dictated):
            backend.transcripts = {i: answer for i, (_, answer) in enumerate(wave)}
        order = (0, None) if pair % 2 else (None, 0)
        found = {most: run(scheduler, backend, wave, most) for most in order}
        print(f"  {kind} {pair}: {found[0].tok_s:.1f} → {found[None].tok_s:.1f}", file=sys.stderr)
        offs.append(found[0])
        ons.append(found[None])
        ratios.append(found[None].tok_s / found[0].tok_s)
    low, middle, high = statistics.quantiles(ratios, n=4)
    n_drafted, n_accepted = (sum(getattr(r, n) for r in ons) for n in ("n_drafted", "n_accepted"))
    print(
        f"{kind:8} {n_streams} streams  off {statistics.median(r.tok_s for r in offs):7.1f} tok/s"
        f"  on {statistics.median(r.tok_s for r in ons):7.1f}  ratio {middle:.2f}"
        f" ({low:.2f} – {high:.2f})  guesses {n_accepted} of {n_drafted}",
        flush=True,
    )


def loaded(asked: argparse.Namespace, n_streams: int) -> LlamaBackend:
    shape, path = plan(asked.model, n_streams, asked.threads), os.fsencode(asked.model)
    if asked.draft:
        shape = replace(shape, speculate="draft", draft=str(asked.draft))
        return DraftingBackend(path, shape, lambda ratio: None)
    return Dictated(path, shape, lambda ratio: None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--draft", type=Path)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--streams", type=int, nargs="*", default=[1])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--kinds", nargs="*", default=["edit", "random", "babble"])
    parser.add_argument(
        "--cpu-time", action="store_true", help="count the process' CPU seconds; with --threads 1"
    )
    asked = parser.parse_args()
    if asked.draft and asked.cpu_time:
        parser.error("a draft model's time is told in seconds of the clock")
    if asked.cpu_time:
        global clock
        clock = time.process_time
    for n_streams in asked.streams:
        backend = loaded(asked, n_streams)
        scheduler = Scheduler(backend.limits, Pace(None, backend.costs))
        for kind in ["own"] if asked.draft else asked.kinds:
            compare(kind, backend, scheduler, n_streams, asked.pairs)


if __name__ == "__main__":
    main()
