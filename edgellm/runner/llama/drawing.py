"""From a row of logits to the next token of its sequence, as its samplers and structure have it."""

import time
from collections.abc import Iterable
from typing import Any

from edgellm.chat.events import TokenLogprob
from edgellm.chat.messages import GenerateParams
from edgellm.runner.batch import Mask, Row, Sampled, Start
from edgellm.runner.intake.pictures import Placed, is_picture
from edgellm.runner.llama.logits import LogitRows
from edgellm.runner.llama.sampling import Sampler, Samplers
from edgellm.runner.llama.vocab import Vocab
from edgellm.runner.sampling.logprobs import described, top_logprobs
from edgellm.runner.sampling.preselect import Logits


class Drawing:
    """By seq_id, of the sequences that run."""

    def __init__(self, context: Any, vocab: Vocab, samplers: Samplers) -> None:
        self._vocab, self._factory, self._ends = vocab, samplers, frozenset(vocab.ends)
        self._logits = LogitRows(context, vocab.n_tokens)
        self._starts: dict[int, Start] = {}
        self._samplers: dict[int, Sampler] = {}
        self.set_up_s = 0.0  # of all sequences: their samplers begun, told the prompt, freed
        self.elapsed_s = 0.0  # of all rows: masks and samplers
        self.mask_s = 0.0  # of this, masks

    def start(self, op: Start) -> None:
        begun_s = time.perf_counter()
        self._starts[op.seq_id] = op
        prompt = op.prompt
        if op.pictures:  # penalties count tokens only
            prompt = tuple(token for token in prompt if not is_picture(token))
        self._samplers[op.seq_id] = self._factory.start(op.params.sampling, prompt)
        self.set_up_s += time.perf_counter() - begun_s

    def stop(self, seq_id: int) -> None:
        begun_s = time.perf_counter()
        self._samplers.pop(seq_id).close()
        del self._starts[seq_id]
        self.set_up_s += time.perf_counter() - begun_s

    def pictures(self, seq_id: int) -> tuple[Placed, ...]:
        return self._starts[seq_id].pictures

    def look_ahead(self, rows: Iterable[Row]) -> None:
        """Compute the masks for these rows while the device computes their logits: only a
        sequence's first, as nobody knows yet which tokens come before a draft's later ones."""
        for seq_id in {row.seq_id for row in rows if row.wants_logits}:
            if (start := self._starts.get(seq_id)) and start.mask:
                start.mask.look_ahead()

    def draw(self, seq_id: int, row: int) -> Sampled:
        """Draw from the last call's `row`. The token counts as written."""
        logits = self._logits.of(row)
        start, sampler = self._starts[seq_id], self._samplers[seq_id]
        if start.params.logprobs is None:
            return self._drawn(start.mask, sampler, logits)
        # Masks and samplers write to `logits`, but the model's own are told.
        raw = logits.copy()
        drawn = self._drawn(start.mask, sampler, logits)
        logprob = self._told(start.params, start.params.logprobs, sampler, raw, drawn.token)
        return Sampled(drawn.token, drawn.ends, drawn.silent, drawn.fault, logprob)

    def _drawn(self, mask: Mask | None, sampler: Sampler, logits: Logits) -> Sampled:
        begun_s = time.perf_counter()
        if mask:
            mask.apply(logits)
            self.mask_s += time.perf_counter() - begun_s
        token = sampler.sample(logits)
        silent = ends = token in self._ends
        if mask and not ends:
            drawn_s = time.perf_counter()
            mask.accept(token)
            ends = mask.complete  # a closing brace that nothing can follow saves a step
            self.mask_s += time.perf_counter() - drawn_s
        self.elapsed_s += time.perf_counter() - begun_s
        return Sampled(token, ends, silent, mask.fault if mask else None)

    def _told(
        self, params: GenerateParams, n_top: int, sampler: Sampler, raw: Logits, token: int
    ) -> TokenLogprob:
        is_left = params.post_sampling_probs
        told = sampler.left(token, n_top) if is_left else top_logprobs(raw, token, n_top)
        return described(token, told, self._vocab.piece)
