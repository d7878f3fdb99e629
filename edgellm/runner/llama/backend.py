"""llama.cpp, behind the Backend door. It obeys; every decision was made before it.

This room and the *_child.py programs are the only code that imports llama_cpp. Every
precondition is checked before the call: a GGML_ASSERT ends the process.

llama_decode's return codes (llama.h): 0 done; 1 no KV slot, memory as before the call; 2 aborted,
some ubatches computed (we never abort); -1 bad batch; below that, fatal.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import llama_cpp
import numpy as np

from edgellm.chat.messages import GenerateParams
from edgellm.errors import BadRequest, ContextTooLong, EdgellmError
from edgellm.runner.backend import MAX_TOKEN_BYTES, Input, NoKVSlot, Step
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
from edgellm.runner.llama.load import LoadError, load
from edgellm.runner.llama.partial import blank_window, carries_state, partial_state, turn_ends
from edgellm.runner.llama.pieces import PieceOf
from edgellm.runner.llama.sampling import Sampler, Samplers, suppressed
from edgellm.runner.llama.state import StateBlobs
from edgellm.runner.llama.vocab import fill_marks
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.recorder import NativeTimes
from edgellm.runner.pacing.rehearsal import rehearse
from edgellm.runner.sampling.logprobs import described, top_logprobs
from edgellm.runner.sampling.masks import Masks
from edgellm.runner.sampling.preselect import Logits
from edgellm.selector.checks import MAX_SEQUENCES
from edgellm.selector.plan import Plan

_N_RETAINED = 64  # ended sequences that keep their cells while these are in nobody's way
# Batch-invariant prompts are computed in chunks of so many tokens: as short as sharing wants them,
# as long as the kernels do.
_CHUNK = 128


def library() -> str:
    """Whose format a copied state has; it may change with every version."""
    return f"{llama_cpp.__version__} {llama_cpp.LLAMA_STATE_SEQ_VERSION}"


class LlamaBackend:
    def __init__(self, path: bytes, plan: Plan, on_progress: Callable[[float], None]) -> None:
        """Raises LoadError."""
        loaded = load(path, plan, on_progress)
        self._loaded = loaded  # keeps alive what C points to
        self._model, self._context, self.memory = loaded.model, loaded.context, loaded.memory
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self.n_vocab = int(llama_cpp.llama_vocab_n_tokens(self._vocab))
        self.n_embd = int(llama_cpp.llama_model_n_embd_out(self._model))
        self.n_ctx_train = int(llama_cpp.llama_model_n_ctx_train(self._model))
        self.limits = self._limits(plan)
        is_end = llama_cpp.llama_vocab_is_eog
        self._ends = [token for token in range(self.n_vocab) if is_end(self._vocab, token)]
        self.piece = PieceOf(self._vocab)
        self.letters = PieceOf(self._vocab, special=True)
        self._sampling = Samplers(
            self._vocab,
            self.n_vocab,
            self.limits.n_ctx_seq,
            ends=self._ends,
            suppressed=suppressed(self._vocab),
        )
        self._samplers: dict[int, Sampler] = {}
        self._starts: dict[int, Start] = {}  # by seq_id, of those that run
        self._compiler: Masks | None = None
        self._copies = StreamCopies(self._context, on_host=not plan.devices)
        self._adapters = Adapters(self._model, self._context)
        self.load_adapter, self.free_adapter = self._adapters.load, self._adapters.free
        plain = self._adapters.without(self._decode_rows)
        self._state = StateBlobs(self._context, plan.n_seq_max - 1, plain)  # see Limits.n_scratch
        self.keep_on = self._state.keep_on
        self._compute = Compute(self._context, plan)
        self._sight = Sight(plan.projector, self._model, plan) if plan.projector else None
        self._positions = Positions() if self._sight and self._sight.uses_mrope else None
        self.costs = StepCosts()
        self._sample_s = 0.0  # of the batch that is being computed
        self._invariant = plan.batch_invariant
        self.overlaps = bool(plan.devices)
        self._calls = Calls()
        self._embedder = Embedder(self._model, self._context, self.limits, self._decode_rows)
        self.pooling = self._embedder.pooling if plan.embedding else None
        self.n_input, self.score_at = self._embedder.n_input, self._embedder.score_at
        self.pairs = Pairs(self._model, self._vocab, self._tokenize, self.letters).join
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
        tokens = self._tokenize(data, add_special, parse_special)
        bos = llama_cpp.llama_vocab_bos(self._vocab)
        return tokens[1:] if add_special and tokens[:2] == [bos, bos] else tokens

    def _tokenize(self, data: bytes, add_special: bool, parse_special: bool = True) -> list[int]:
        size = len(data) + 8
        tokens = (llama_cpp.llama_token * size)()
        n = llama_cpp.llama_tokenize(
            self._vocab, data, len(data), tokens, size, add_special, parse_special
        )
        if n < 0:
            raise BadRequest(f"a text of {len(data)} bytes can't be tokenized")
        return list(tokens[:n])

    def marks(self, markers: tuple[str, ...]) -> dict[int, bytes]:
        tokens = {token for marker in markers for token in self._tokenize(marker.encode(), False)}
        return {token: self.letters(token) for token in tokens if not self.piece(token)}

    def fill_marks(self) -> FillMarks | None:
        return fill_marks(self._vocab)

    # ── structure ────────────────────────────────────────────────────────────

    def prepare(self, params: GenerateParams) -> Mask | None:
        self._sampling.warm(params.sampling)
        if params.structure is None:
            return None
        if self._compiler is None:
            from llguidance.llamacpp import lltokenizer_from_vocab

            tokenizer = lltokenizer_from_vocab(self._vocab, eos_token=self._ends)
            self._compiler = Masks(tokenizer, self.n_vocab)
        return self._compiler.compile(params.structure)

    def is_prepared(self, params: GenerateParams) -> bool:
        if not self._sampling.is_warm(params.sampling):
            return False
        structure, compiler = params.structure, self._compiler
        return structure is None or (compiler is not None and compiler.is_kept(structure))

    # ── decoding ─────────────────────────────────────────────────────────────

    def decode(self, batch: Batch) -> Step:
        begun_s = time.perf_counter()
        computed_s, self._sample_s = self._compute.elapsed_s, 0.0
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
        times = NativeTimes(ops_s, self._compute.elapsed_s - computed_s, self._sample_s)
        return Step(sampled, times, n_threads=self._compute.n_threads)

    def while_computing(self, do: Callable[[], None]) -> None:
        self._compute.meanwhile = do

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
        start, sampler = self._starts[seq_id], self._samplers[seq_id]
        params, mask = start.params, start.mask
        begun_s = time.perf_counter()
        # Masks and samplers write to `logits`, and what is told are the model's own.
        raw = logits.copy() if params.logprobs is not None else logits
        if mask:
            mask.apply(logits)
        token = sampler.sample(logits)
        self._sample_s += time.perf_counter() - begun_s
        silent = ends = token in self._ends
        if mask and not ends:
            mask.accept(token)
            ends = mask.complete  # a closing brace that nothing can follow saves a step
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

    def _limits(self, plan: Plan) -> Limits:
        shares = not plan.embedding and self._can_share()
        # As many finished conversations are kept as may run: what llama-server's slots do.
        n_retained = plan.n_parallel if shares and plan.kv_unified else 0
        n_running = min(plan.n_parallel, plan.n_seq_max)
        n_scratch = plan.n_seq_max - n_running
        if n_scratch and plan.prefix_ram_bytes:
            n_retained = max(n_retained, _N_RETAINED)  # they leave when they are in the way
        n_ubatch = int(llama_cpp.llama_n_ubatch(self._context))
        return Limits(
            n_cells=int(llama_cpp.llama_n_ctx(self._context)),
            n_ctx_seq=min(plan.n_ctx_seq, int(llama_cpp.llama_n_ctx_seq(self._context))),
            n_batch=self._step_rows(plan, n_ubatch),
            n_seq_max=n_running,
            n_ids=min(plan.n_seq_max + n_retained, MAX_SEQUENCES),
            n_scratch=n_scratch,
            shelf_bytes=plan.prefix_ram_bytes,
            shares_prefixes=shares,
            unified=plan.kv_unified,
            on_device=bool(plan.devices),
            n_chunk=min(_CHUNK, n_ubatch) if plan.batch_invariant else None,
            n_draft_rows=self._draft_rows(plan),
        )

    def _draft_rows(self, plan: Plan) -> int:
        """A recurrent state can't go back to before a guess that failed. A window can: what a row
        overwrites in it is out of sight of all later ones (llama-kv-cache.cpp, find_slot)."""
        carries_rows = llama_cpp.llama_model_is_recurrent(self._model)
        carries_rows = carries_rows or llama_cpp.llama_model_is_hybrid(self._model)
        if plan.speculate == "off" or plan.embedding or carries_rows:
            return 0
        return max(0, plan.n_outputs_max - plan.n_seq_max)

    def _step_rows(self, plan: Plan, n_ubatch: int) -> int:
        """One micro-batch: whoever waits for a prefix, or to be heard, waits no longer than that.

        Several devices compute several micro-batches of one call at the same time.
        """
        n_batch = int(llama_cpp.llama_n_batch(self._context))
        if plan.embedding:
            return min(n_batch, n_ubatch)
        if len(plan.devices) > 1:
            return n_batch
        if plan.batch_invariant:
            return n_ubatch + plan.n_seq_max  # no call has more rows than a chunk
        return max(n_ubatch, plan.n_seq_max)

    def _can_share(self) -> bool:
        """By bare forks: full attention only. For what else there is, see `_carry`."""
        has_encoder = llama_cpp.llama_model_has_encoder(self._model)
        is_plain = not has_encoder and not carries_state(self._model)
        return is_plain and self._memory is not None

    def _warm_up(self, plan: Plan) -> None:
        """The first decode costs five others. It also proves that ids above n_seq_max retain."""
        llama_cpp.llama_set_warmup(self._context, True)
        self._decode_rows((Row(0, 0, max(0, llama_cpp.llama_vocab_bos(self._vocab)), True),))
        llama_cpp.llama_set_warmup(self._context, False)
        if self.limits.shares_prefixes and self.limits.n_ids > self.limits.n_seq_max:
            highest = self.limits.n_ids - 1
            llama_cpp.llama_memory_seq_cp(self._memory, 0, highest, 0, 1)
            if llama_cpp.llama_memory_seq_pos_max(self._memory, highest) != 0:
                raise LoadError("other", "this llama.cpp retains no sequence above n_seq_max")
        if self.limits.n_scratch:
            self._decode_rows((Row(0, 1, max(0, llama_cpp.llama_vocab_bos(self._vocab)), True),))
            self.limits = replace(self.limits, blob=self._state.measure(0))
        if carries_state(self._model):
            self.limits = self._carry(plan)
        self.costs = rehearse(
            self._decode_alone,
            time.perf_counter,
            max(0, llama_cpp.llama_vocab_bos(self._vocab)),
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
            turn_ends=turn_ends(self._vocab, self._ends),
        )

    def _decode_alone(self, rows: tuple[Row, ...]) -> None:
        llama_cpp.llama_memory_clear(self._memory, False)
        for own in self._split(rows):
            self._decode_rows(own)
