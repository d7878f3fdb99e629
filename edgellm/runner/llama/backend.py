"""llama.cpp, behind the Backend door. It obeys; every decision was made before it.

This room and the *_child.py programs are the only code that imports llama_cpp. Every
precondition is checked before the call: a GGML_ASSERT ends the process.

llama_decode's return codes (llama.h): 0 done; 1 no KV slot, memory as before the call; 2 aborted,
some ubatches computed (we never abort); -1 bad batch; below that, fatal.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import llama_cpp
import numpy as np

from edgellm.chat.messages import GenerateParams
from edgellm.errors import BadRequest, ContextTooLong, EdgellmError
from edgellm.runner.backend import MAX_TOKEN_BYTES, Input, NoKVSlot, Ready, Step
from edgellm.runner.batch import (
    Batch,
    Copy,
    Forget,
    Fork,
    Mask,
    Op,
    Row,
    Sampled,
    Start,
    Stop,
    Trim,
)
from edgellm.runner.calls import Calls
from edgellm.runner.drafting.verify import sampled_rows
from edgellm.runner.intake.infill import FillMarks
from edgellm.runner.intake.pictures import Piece, is_picture
from edgellm.runner.intake.positions import Positions
from edgellm.runner.kv.memory import Limits
from edgellm.runner.llama.adapters import Adapters
from edgellm.runner.llama.compute import Compute
from edgellm.runner.llama.copy import StreamCopies
from edgellm.runner.llama.embed import Embedder, Pairs
from edgellm.runner.llama.images import Sight, apart
from edgellm.runner.llama.limits import limits_of
from edgellm.runner.llama.load import LoadError, load
from edgellm.runner.llama.partial import blank_window, carries_state, partial_state, turn_ends
from edgellm.runner.llama.sampling import Sampler, Samplers, suppressed
from edgellm.runner.llama.state import StateBlobs
from edgellm.runner.llama.vocab import Vocab, fill_marks
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.recorder import NativeTimes
from edgellm.runner.pacing.rehearsal import rehearse
from edgellm.runner.sampling.logprobs import described, top_logprobs
from edgellm.runner.sampling.masks import Masks
from edgellm.runner.sampling.preselect import Logits
from edgellm.selector.plan import Plan
from edgellm.selector.search.checks import MAX_SEQUENCES


def library() -> str:
    """Whose format a copied state has; it may change with every version."""
    return f"{llama_cpp.__version__} {llama_cpp.LLAMA_STATE_SEQ_VERSION}"


class LlamaBackend:
    def __init__(self, path: bytes, plan: Plan, on_progress: Callable[[float], None]) -> None:
        """Raises LoadError."""
        loaded = load(path, plan, on_progress)
        self._loaded = loaded  # keeps alive what C points to
        self._model, self._context, self.memory = loaded.model, loaded.context, loaded.memory
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._vocab = vocab = Vocab(self._model)
        self.piece, self.letters, self.marks = vocab.piece, vocab.letters, vocab.marks
        self.n_vocab = vocab.n_tokens
        self.n_embd = int(llama_cpp.llama_model_n_embd_out(self._model))
        self.n_ctx_train = int(llama_cpp.llama_model_n_ctx_train(self._model))
        self.limits, self.costs = limits_of(self._model, self._context, plan), StepCosts()
        self.overlaps, self._invariant = bool(plan.devices), plan.batch_invariant

        self._compute, self._calls = Compute(self._context, plan), Calls()
        self._sight = Sight(plan.projector, self._model, plan) if plan.projector else None
        self._positions = Positions() if self._sight and self._sight.uses_mrope else None
        self._adapters = Adapters(self._model, self._context)
        self.load_adapter, self.free_adapter = self._adapters.load, self._adapters.free
        self._copies = StreamCopies(self._context, on_host=not plan.devices)
        plain = self._adapters.without(self._decode_rows)
        self._state = StateBlobs(self._context, plan.n_seq_max - 1, plain)  # see Limits.n_scratch
        self.keep_on = self._state.keep_on

        self._sampling = Samplers(
            vocab.raw,
            vocab.n_tokens,
            self.limits.n_ctx_seq,
            ends=vocab.ends,
            suppressed=suppressed(vocab.raw),
        )
        self._samplers: dict[int, Sampler] = {}
        self._starts: dict[int, Start] = {}  # by seq_id, of those that run
        self._sample_s = self._mask_s = 0.0  # of the batch that is being computed
        self._compiler: Masks | None = None

        self._embedder = Embedder(self._model, self._context, self.limits, self._decode_rows)
        self.pooling = self._embedder.pooling if plan.embedding else None
        self.n_input, self.score_at = self._embedder.n_input, self._embedder.score_at
        self.pairs = Pairs(self._model, vocab.raw, vocab.tokenize, vocab.letters).join
        if not plan.embedding:
            try:
                self._warm_up(plan)
            except (EdgellmError, NoKVSlot) as error:
                raise LoadError("memory", f"the first decode failed: {error}") from error

    # ── words ────────────────────────────────────────────────────────────────

    def tokenize(self, text: str, add_special: bool, parse_special: bool = True) -> list[int]:
        """With `add_special`, a BOS exactly once: a chat template may have written it already."""
        data = text.encode("utf-8", "replace")
        if len(data) > self.limits.n_ctx_seq * MAX_TOKEN_BYTES:
            raise ContextTooLong(
                f"a text of {len(data)} bytes is far more than a context of "
                f"{self.limits.n_ctx_seq} tokens holds",
                hint="shorten the prompt, or serve with a larger --ctx",
                param="messages",
            )
        tokens, bos = self._vocab.tokenize(data, add_special, parse_special), self._vocab.bos
        return tokens[1:] if add_special and tokens[:2] == [bos, bos] else tokens

    def fill_marks(self) -> FillMarks | None:
        return fill_marks(self._vocab.raw)

    # ── structure ────────────────────────────────────────────────────────────

    def prepare(self, params: GenerateParams) -> Mask | None:
        self._sampling.warm(params.sampling)
        return self._masks().compile(params.structure) if params.structure else None

    def prepared(self, params: GenerateParams) -> Ready | None:
        if not self._sampling.is_warm(params.sampling):
            return None
        if params.structure is None:
            return Ready(None)
        mask = self._compiler.kept(params.structure) if self._compiler else None
        return Ready(mask) if mask else None

    def prepare_ahead(self) -> None:
        """What the first structure needs. Called on the thread that prepares."""
        self._masks()

    def _masks(self) -> Masks:
        """The first time, seconds for a large vocabulary. For half of them llguidance lets nobody
        else run Python."""
        if self._compiler is None:
            from llguidance.llamacpp import lltokenizer_from_vocab

            tokenizer = lltokenizer_from_vocab(self._vocab.raw, eos_token=self._vocab.ends)
            lock, clock = threading.Lock(), time.perf_counter
            self._compiler = Masks(tokenizer, self.n_vocab, lock, clock)
        return self._compiler

    def is_prepared(self, params: GenerateParams) -> bool:
        if not self._sampling.is_warm(params.sampling):
            return False
        structure, compiler = params.structure, self._compiler
        return structure is None or (compiler is not None and compiler.is_kept(structure))

    # ── decoding ─────────────────────────────────────────────────────────────

    def decode(self, batch: Batch) -> Step:
        begun_s = time.perf_counter()
        computed_s, self._sample_s, self._mask_s = self._compute.elapsed_s, 0.0, 0.0
        if self._positions:
            batch = self._positions.put(batch)
        self._copies.begin()
        for op in batch.ops:
            self._obey(op)
        self._copies.end()
        anew_s = self._compute.elapsed_s - computed_s  # of what no file gave back
        ops_s = time.perf_counter() - begun_s - anew_s
        if not batch.rows:
            return Step({}, NativeTimes(ops_s))

        def compute(rows: tuple[Row, ...]) -> dict[int, tuple[Sampled, ...]]:
            self._decode_rows(rows + batch.padding)
            return sampled_rows(rows, self._sample)

        with self._adapters.used(batch.adapters):
            sampled = self._calls.run(batch.rows, self._split, compute)
        if batch.padding:
            llama_cpp.llama_memory_seq_rm(self._memory, batch.padding[0].seq_id, -1, -1)
        decode_s = self._compute.elapsed_s - computed_s
        times = NativeTimes(ops_s, decode_s, self._sample_s, self._mask_s)
        return Step(sampled, times, n_threads=self._compute.n_threads)

    def while_computing(self, do: Callable[[], None]) -> None:
        self._compute.meanwhile = do

    def leave_room(self, n_beside: Callable[[], int]) -> None:
        """`n_beside` says how many threads of this process want a core beside the next step."""
        self._compute.n_beside = n_beside

    def see(self, file: bytes) -> tuple[Piece, ...]:
        if self._sight is None:
            raise BadRequest("this model sees no pictures", hint="serve it with --mmproj FILE")
        return self._sight.see(file)

    def _split(self, rows: tuple[Row, ...]) -> Iterator[tuple[Row, ...]]:
        """All rows in one call, or each sequence's in its own: kernels round by the rows beside.

        A picture's rows are vectors, which no call has beside tokens.
        """
        if self._sight:
            tokens, pictures = apart(rows)
            yield from pictures
            rows = tokens
        if self._invariant:
            for _, own in itertools.groupby(rows, lambda row: row.seq_id):
                yield tuple(own)
        elif rows:
            yield rows

    def _decode_rows(self, rows: tuple[Row, ...]) -> None:
        if self._sight and is_picture(rows[0].token):
            sight, pictures = self._sight, self._starts[rows[0].seq_id].pictures
            self._compute.call(lambda: sight.decode(self._context, rows, pictures), len(rows))
        else:
            self._compute.rows(rows)

    def _obey(self, op: Op) -> None:
        memory = self._memory
        match op:
            case Forget(seq_id):
                llama_cpp.llama_memory_seq_rm(memory, seq_id, -1, -1)
            case Trim(seq_id, length):
                llama_cpp.llama_memory_seq_rm(memory, seq_id, length, -1)
            case Fork(source, target, length):
                llama_cpp.llama_memory_seq_cp(memory, source, target, 0, length)
            case Copy(source, target, length):
                self._copies.copy(source, target, length)
            case Start():
                self._start(op)
            case Stop(seq_id):
                self._samplers.pop(seq_id).close()
                del self._starts[seq_id]
            case _:
                self._state.obey(op)

    def _start(self, op: Start) -> None:
        self._starts[op.seq_id] = op
        prompt = op.prompt
        if op.pictures:  # penalties count tokens only
            prompt = tuple(token for token in prompt if not is_picture(token))
        self._samplers[op.seq_id] = self._sampling.start(op.params.sampling, prompt)

    def _sample(self, seq_id: int, row: int) -> Sampled:
        pointer = llama_cpp.llama_get_logits_ith(self._context, row)
        logits: Logits = np.ctypeslib.as_array(pointer, shape=(self.n_vocab,))
        params, sampler = self._starts[seq_id].params, self._samplers[seq_id]
        # Masks and samplers write to `logits`, and what is told are the model's own.
        raw = logits.copy() if params.logprobs is not None else logits
        begun_s = time.perf_counter()
        mask = self._starts[seq_id].mask
        if mask:
            mask.apply(logits)
        masked_s = time.perf_counter()
        token = sampler.sample(logits)
        drawn_s = time.perf_counter()
        silent = ends = token in self._vocab.ends
        if mask and not ends:
            mask.accept(token)
            ends = mask.complete  # a closing brace that nothing can follow saves a step
        ended_s = time.perf_counter()
        self._sample_s += ended_s - begun_s
        self._mask_s += ended_s - begun_s - (drawn_s - masked_s)
        logprob, n_top = None, params.logprobs
        if n_top is not None:
            is_left = params.post_sampling_probs
            told = sampler.left(token, n_top) if is_left else top_logprobs(raw, token, n_top)
            logprob = described(token, told, self.piece)
        return Sampled(token, ends, silent, mask.fault if mask else None, logprob)

    # ── embedding ────────────────────────────────────────────────────────────

    def embed(self, inputs: list[Input]) -> list[bytes]:
        return self._embedder.embed(inputs)

    # ── facts ────────────────────────────────────────────────────────────────

    def _warm_up(self, plan: Plan) -> None:
        """The first decode costs five others. It also proves that ids above n_seq_max retain."""
        llama_cpp.llama_set_warmup(self._context, True)
        self._decode_rows((Row(0, 0, self._vocab.any_token, True),))
        llama_cpp.llama_set_warmup(self._context, False)
        if self.limits.shares_prefixes and self.limits.n_ids > self.limits.n_seq_max:
            highest = self.limits.n_ids - 1
            llama_cpp.llama_memory_seq_cp(self._memory, 0, highest, 0, 1)
            if llama_cpp.llama_memory_seq_pos_max(self._memory, highest) != 0:
                raise LoadError("other", "this llama.cpp retains no sequence above n_seq_max")
        if self.limits.n_scratch:
            self._decode_rows((Row(0, 1, self._vocab.any_token, True),))
            self.limits = replace(self.limits, blob=self._state.measure(0))
        if carries_state(self._model):
            self.limits = self._carry(plan)
        self.costs = rehearse(
            self._decode_alone,
            time.perf_counter,
            self._vocab.any_token,
            n_decode_max=min(plan.n_parallel + self.limits.n_draft_rows, plan.n_outputs_max),
            n_prompt_max=min(self.limits.n_batch, self.limits.n_ctx_seq),
            n_sequences=plan.n_parallel,
        )
        llama_cpp.llama_memory_clear(self._memory, True)

    def _carry(self, plan: Plan) -> Limits:
        """The limits of a model whose sequences carry a state: shared by checkpoints."""
        ram_bytes = plan.prefix_ram_bytes
        state = partial_state(self._model, self._context, self._decode_rows, ram_bytes)
        if state is None or llama_cpp.llama_model_has_encoder(self._model):
            return self.limits
        if ram_bytes < state.checkpoint_bytes(state.n_window):
            return self.limits  # not even one could be kept
        n_running, n_aside = self.limits.n_seq_max, 0
        if not state.has_cells:
            n_aside = 4 * n_running  # they take nothing but checkpoints
        elif plan.kv_unified and not state.has_rows:
            n_aside = n_running
            self._state.blank = blank_window(self._model, self._context, self._decode_rows)
        self._copies.at_once = True
        return replace(
            self.limits,
            shares_prefixes=True,
            n_ids=min(n_running + n_aside, MAX_SEQUENCES),
            n_scratch=0,
            shelf_bytes=0,
            blob=None,
            state=state,
            turn_ends=turn_ends(self._vocab.raw, self._vocab.ends),
        )

    def _decode_alone(self, rows: tuple[Row, ...]) -> None:
        llama_cpp.llama_memory_clear(self._memory, False)
        for own in self._split(rows):
            self._decode_rows(own)
