"""llama.cpp, behind the Backend door. It obeys; every decision was made before it.

The llama*.py files and the *_child.py programs are the only code that imports llama_cpp. Every
precondition is checked before the call: a GGML_ASSERT ends the process.

llama_decode's return codes (llama.h): 0 done; 1 no KV slot, memory as before the call; 2 aborted,
some ubatches computed (we never abort); -1 bad batch; below that, fatal.
"""

import itertools
from collections.abc import Callable, Iterator

import llama_cpp
import numpy as np

from edgellm.chat.messages import Structure
from edgellm.errors import BadRequest, ContextTooLong, EdgellmError
from edgellm.runner.backend import NoKVSlot, Step
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
from edgellm.runner.llama_copy import StreamCopies
from edgellm.runner.llama_load import LoadError, load
from edgellm.runner.llama_sampling import Logits, PieceOf, Sampler, describe
from edgellm.runner.llama_state import StateBlobs
from edgellm.runner.masks import Masks
from edgellm.runner.memory import Limits
from edgellm.runner.verify import sampled_rows
from edgellm.selector.plan import Plan

_MAX_IDS = 256  # LLAMA_MAX_SEQ, src/llama-cparams.h
# More text than that for each token of context can't be a prompt, and would stall everyone's step.
_MAX_TOKEN_BYTES = 64
# Batch-invariant prompts are computed in chunks of so many tokens: as short as sharing wants them,
# as long as the kernels do.
_CHUNK = 128


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
        self._letters = PieceOf(self._vocab, special=True)
        self._samplers: dict[int, Sampler] = {}
        self._starts: dict[int, Start] = {}  # by seq_id, of those that run
        self._compiler: Masks | None = None
        self._copies = StreamCopies(self._context, on_host=not plan.devices)
        self._state = StateBlobs(self._context, scratch=plan.n_seq_max - 1)
        self._rows = _Rows(plan.n_batch)
        self._invariant = plan.batch_invariant
        if not plan.embedding:
            try:
                self._warm_up()
            except (EdgellmError, NoKVSlot) as error:
                raise LoadError("memory", f"the first decode failed: {error}") from error

    # ── words ────────────────────────────────────────────────────────────────

    def tokenize(self, text: str, add_special: bool) -> list[int]:
        """With `add_special`, a BOS exactly once: a chat template may have written it already."""
        data = text.encode("utf-8", "replace")
        if len(data) > self.limits.n_ctx_seq * _MAX_TOKEN_BYTES:
            raise ContextTooLong(
                f"a text of {len(data)} bytes is far more than a context of "
                f"{self.limits.n_ctx_seq} tokens holds",
                hint="shorten the prompt, or serve with a larger --ctx",
                param="messages",
            )
        tokens = self._tokenize(data, add_special)
        bos = llama_cpp.llama_vocab_bos(self._vocab)
        return tokens[1:] if add_special and tokens[:2] == [bos, bos] else tokens

    def _tokenize(self, data: bytes, add_special: bool) -> list[int]:
        size = len(data) + 8
        tokens = (llama_cpp.llama_token * size)()
        n = llama_cpp.llama_tokenize(self._vocab, data, len(data), tokens, size, add_special, True)
        if n < 0:
            raise BadRequest(f"a text of {len(data)} bytes can't be tokenized")
        return list(tokens[:n])

    def marks(self, markers: tuple[str, ...]) -> dict[int, bytes]:
        tokens = {token for marker in markers for token in self._tokenize(marker.encode(), False)}
        return {token: self._letters(token) for token in tokens if not self.piece(token)}

    # ── structure ────────────────────────────────────────────────────────────

    def compile(self, structure: Structure) -> Mask:
        if self._compiler is None:
            from llguidance.llamacpp import lltokenizer_from_vocab

            tokenizer = lltokenizer_from_vocab(self._vocab, eos_token=self._ends)
            self._compiler = Masks(tokenizer, self.n_vocab)
        return self._compiler.compile(structure)

    # ── decoding ─────────────────────────────────────────────────────────────

    def decode(self, batch: Batch) -> Step:
        self._copies.begin()
        for op in batch.ops:
            self._obey(op)
        self._copies.end()
        sampled: dict[int, tuple[Sampled, ...]] = {}
        for rows in self._calls(batch.rows):
            self._decode_rows(rows)
            sampled |= sampled_rows(rows, self._sample)
        return Step(sampled)

    def _calls(self, rows: tuple[Row, ...]) -> Iterator[tuple[Row, ...]]:
        """All rows in one call, or each sequence's in its own: kernels round by the rows beside."""
        if self._invariant:
            for _, own in itertools.groupby(rows, lambda row: row.seq_id):
                yield tuple(own)
        elif rows:
            yield rows

    def _decode_rows(self, rows: tuple[Row, ...]) -> None:
        self._rows.fill(rows)
        code = llama_cpp.llama_decode(self._context, self._rows.raw)
        if code == 1:
            raise NoKVSlot(f"no KV slot for a batch of {len(rows)} tokens")
        if code != 0:
            raise EdgellmError(f"llama_decode returned {code} for {len(rows)} tokens")

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
        sampling = op.params.sampling
        banned = self._ends if sampling.ignore_eos else []
        n_ctx_seq = self.limits.n_ctx_seq
        self._starts[op.seq_id] = op
        self._samplers[op.seq_id] = Sampler(sampling, self.n_vocab, n_ctx_seq, op.prompt, banned)

    def _sample(self, seq_id: int, row: int) -> Sampled:
        pointer = llama_cpp.llama_get_logits_ith(self._context, row)
        logits: Logits = np.ctypeslib.as_array(pointer, shape=(self.n_vocab,))
        start = self._starts[seq_id]
        mask = start.mask
        if mask:
            mask.apply(logits)
        # No sampler of llama.cpp's writes to `logits`: they can be read again afterwards.
        token = self._samplers[seq_id].sample(self._context, row, logits)
        silent = ends = token in self._ends
        if mask and not ends:
            mask.accept(token)
            ends = mask.complete  # a closing brace that nothing can follow saves a step
        logprob = None
        if start.params.logprobs is not None:
            logprob = describe(logits, token, start.params.logprobs, self.piece)
        return Sampled(token, ends, silent, mask.fault if mask else None, logprob)

    # ── embedding ────────────────────────────────────────────────────────────

    def embed(self, inputs: list[list[int]]) -> list[bytes]:
        """One batch: its tokens fit n_batch, its inputs n_seq_max. float32, length 1."""
        rows = tuple(
            Row(seq_id, pos, token, wants_logits=True)
            for seq_id, tokens in enumerate(inputs)
            for pos, token in enumerate(tokens)
        )
        if self._memory is not None:
            llama_cpp.llama_memory_clear(self._memory, True)
        self._decode_rows(rows)
        return [self._pooled(seq_id, len(tokens)) for seq_id, tokens in enumerate(inputs)]

    def _pooled(self, seq_id: int, n_tokens: int) -> bytes:
        pointer = llama_cpp.llama_get_embeddings_seq(self._context, seq_id)
        if not pointer:
            raise EdgellmError(f"this model pools nothing for an input of {n_tokens} tokens")
        vector = np.ctypeslib.as_array(pointer, shape=(self.n_embd,)).astype("<f4")
        norm = float(np.linalg.norm(vector))
        return (vector / norm if norm else vector).astype("<f4").tobytes()

    # ── facts ────────────────────────────────────────────────────────────────

    def _limits(self, plan: Plan) -> Limits:
        shares = not plan.embedding and self._can_share()
        # As many finished conversations are kept as may run: what llama-server's slots do.
        n_retained = plan.n_seq_max if shares and plan.kv_unified else 0
        n_ubatch = int(llama_cpp.llama_n_ubatch(self._context))
        return Limits(
            n_cells=int(llama_cpp.llama_n_ctx(self._context)),
            n_ctx_seq=min(plan.n_ctx_seq, int(llama_cpp.llama_n_ctx_seq(self._context))),
            n_batch=self._step_rows(plan, n_ubatch),
            n_seq_max=plan.n_seq_max,
            n_ids=min(plan.n_seq_max + n_retained, _MAX_IDS),
            shares_prefixes=shares,
            unified=plan.kv_unified,
            n_chunk=min(_CHUNK, n_ubatch) if plan.batch_invariant else None,
        )

    def _step_rows(self, plan: Plan, n_ubatch: int) -> int:
        """One micro-batch: whoever waits for a prefix, or to be heard, waits no longer than that.

        Several devices compute several micro-batches of one call at the same time.
        """
        if plan.embedding or len(plan.devices) > 1:
            return int(llama_cpp.llama_n_batch(self._context))
        if plan.batch_invariant:
            return n_ubatch + plan.n_seq_max  # no call has more rows than a chunk
        return max(n_ubatch, plan.n_seq_max)

    def _can_share(self) -> bool:
        """Full attention only: a bare seq_cp on sliding or recurrent memory is silently wrong."""
        model = self._model
        plain = not (
            llama_cpp.llama_model_n_swa(model)
            or llama_cpp.llama_model_is_recurrent(model)
            or llama_cpp.llama_model_is_hybrid(model)
            or llama_cpp.llama_model_has_encoder(model)
        )
        return plain and self._memory is not None

    def _warm_up(self) -> None:
        """The first decode costs five others. It also proves that ids above n_seq_max retain."""
        llama_cpp.llama_set_warmup(self._context, True)
        self._decode_rows((Row(0, 0, max(0, llama_cpp.llama_vocab_bos(self._vocab)), True),))
        llama_cpp.llama_set_warmup(self._context, False)
        if self.limits.shares_prefixes and self.limits.n_ids > self.limits.n_seq_max:
            highest = self.limits.n_ids - 1
            llama_cpp.llama_memory_seq_cp(self._memory, 0, highest, 0, 1)
            if llama_cpp.llama_memory_seq_pos_max(self._memory, highest) != 0:
                raise LoadError("other", "this llama.cpp retains no sequence above n_seq_max")
        llama_cpp.llama_memory_clear(self._memory, True)


class _Rows:
    """A llama_batch and numpy views of its arrays: filling it costs microseconds a row less."""

    def __init__(self, n_batch: int) -> None:
        self.raw = llama_cpp.llama_batch_init(n_batch, 0, 1)
        shape = (n_batch,)
        self._token = np.ctypeslib.as_array(self.raw.token, shape=shape)
        self._pos = np.ctypeslib.as_array(self.raw.pos, shape=shape)
        self._n_seq_id = np.ctypeslib.as_array(self.raw.n_seq_id, shape=shape)
        self._logits = np.ctypeslib.as_array(self.raw.logits, shape=shape)
        self._n_seq_id[:] = 1

    def fill(self, rows: tuple[Row, ...]) -> None:
        n = self.raw.n_tokens = len(rows)
        self._token[:n] = [row.token for row in rows]
        self._pos[:n] = [row.pos for row in rows]
        self._logits[:n] = [row.wants_logits for row in rows]
        seq_id = self.raw.seq_id
        for i, row in enumerate(rows):
            seq_id[i][0] = row.seq_id
