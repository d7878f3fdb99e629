"""llama.cpp behind the Backend protocol. It obeys: every decision was made before.

This room and the *_child.py programs are the only code that imports llama_cpp. Every precondition
is checked before the call, because a failed GGML_ASSERT ends the process.

llama_decode's return codes (llama.h): 0 done; 1 no KV slot, memory as before the call; 2 aborted,
some ubatches computed (we never abort); -1 bad batch; below that, fatal.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Set
from functools import partial

import llama_cpp

from edgellm.errors import BadRequest, ContextTooLong, EdgellmError
from edgellm.runner.backend import MAX_TOKEN_BYTES, NoKVSlot, Step
from edgellm.runner.batch import (
    Batch,
    Copy,
    Forget,
    Fork,
    Op,
    Row,
    Sampled,
    Start,
    Stop,
    Trim,
)
from edgellm.runner.calls import Calls
from edgellm.runner.drafting.verify import sampled_rows
from edgellm.runner.intake.pictures import Piece, is_picture
from edgellm.runner.intake.positions import Positions
from edgellm.runner.llama.adapters import Adapters
from edgellm.runner.llama.compute import Compute
from edgellm.runner.llama.copy import StreamCopies
from edgellm.runner.llama.drawing import Drawing
from edgellm.runner.llama.embed import Embedder, Pairs
from edgellm.runner.llama.first_decodes import FirstDecodes
from edgellm.runner.llama.images import Sight, apart
from edgellm.runner.llama.limits import limits_of
from edgellm.runner.llama.load import LoadError, load
from edgellm.runner.llama.preparation import Preparation
from edgellm.runner.llama.sampling import samplers_of
from edgellm.runner.llama.state import StateBlobs
from edgellm.runner.llama.streams import Blob
from edgellm.runner.llama.vocab import Vocab
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.depth_trial import DepthTrial, try_depth
from edgellm.runner.pacing.looking_back import LookingBack
from edgellm.runner.pacing.recorder import NativeTimes
from edgellm.runner.pacing.rehearsal import Rehearsed, rehearse
from edgellm.selector.plan import Layout, Plan, layout_of


def library() -> str:
    """The version of llama.cpp: the format of a copied state may change with each."""
    return f"{llama_cpp.__version__} {llama_cpp.LLAMA_STATE_SEQ_VERSION}"


class LlamaBackend:
    def __init__(
        self,
        path: bytes,
        plan: Plan,
        on_progress: Callable[[float], None],
        rehearsed: Rehearsed | None = None,
    ) -> None:
        """`rehearsed`: what an earlier worker measured with this plan. Raises LoadError."""
        self._loaded = loaded = load(path, plan, on_progress)  # keeps alive what C points to
        self._model, self._context, self.memory = loaded.model, loaded.context, loaded.memory
        self.costs, self.rehearsed = StepCosts(), rehearsed
        self._costs: dict[Layout, StepCosts] = {}  # what steps take
        self.overlaps, self._invariant = bool(plan.devices), plan.batch_invariant
        self.n_embd = int(llama_cpp.llama_model_n_embd_out(self._model))
        self.n_ctx_train = int(llama_cpp.llama_model_n_ctx_train(self._model))
        self._vocab = Vocab(self._model)
        self.n_vocab = self._vocab.n_tokens
        self._compute, self._calls = Compute(self._context, plan), Calls()
        self._computed: tuple[Row, ...] = ()  # of the last call
        self._adapters = Adapters(self._model, self._context)
        self._sight = Sight(plan.projector, loaded, plan) if plan.projector else None
        self._positions = Positions() if self._sight and self._sight.uses_mrope else None
        n_ctx_seq = limits_of(self._model, self._context, plan).n_ctx_seq
        self._samplers = samplers_of(self._vocab, n_ctx_seq)
        self._preparation = Preparation(self._vocab, self._samplers)
        self._begin(plan)

    def lay_out(self, plan: Plan) -> None:
        """Give the same model another context, while nothing runs. What the cells held is gone, and
        so are all blobs. Raises LoadError: then there is no context until this is called again."""
        self._loaded.lay_out(plan)
        self._context = self._loaded.context
        self._compute.use(self._context)
        self._adapters.use_in(self._context)
        self._begin(plan)

    def try_depth(self, payload: Blob, n_tokens: int) -> DepthTrial:
        """What steps take in empty memory, and behind the conversation of `payload`. Needs the
        memory to itself, and empties it. Raises EdgellmError."""
        limits, memory = self.limits, self._memory
        n_most = min(self._n_outputs, limits.n_batch, limits.n_ctx_seq // 2)
        depth = min(n_tokens, limits.n_ctx_seq - n_most)

        decode, begun_s = self._adapters.without(self._decode_rows), time.perf_counter()

        def cut(length: int) -> None:
            llama_cpp.llama_memory_seq_rm(memory, 0, length, -1)

        def tried(depth: int) -> Mapping[int, float]:
            token, clock = self._vocab.any_token, time.perf_counter
            return try_depth(decode, cut, clock, token, depth, n_most)

        try:
            llama_cpp.llama_memory_clear(memory, False)
            empty_s = tried(0)
            self._state.put(0, payload)
            cut(depth)
            deep_s = tried(depth)
            return DepthTrial(depth, empty_s, deep_s, time.perf_counter() - begun_s)
        except (NoKVSlot, ValueError, MemoryError) as error:
            raise EdgellmError(f"it could not be tried: {error or 'no memory'}") from error
        finally:
            llama_cpp.llama_memory_clear(memory, False)

    def _begin(self, plan: Plan) -> None:
        """Make all that belongs to one context. Raises LoadError."""
        self._memory = llama_cpp.llama_get_memory(self._context)
        self.limits = limits_of(self._model, self._context, plan)
        self._n_outputs = plan.n_outputs_max
        self._copies = StreamCopies(self._context, on_host=not plan.devices)
        plain = self._adapters.without(self._decode_rows)
        self._state = StateBlobs(self._context, plan, plain)
        self._drawing = Drawing(self._context, self._vocab, self._samplers)
        self._embedder = Embedder(self._model, self._context, self.limits, self._decode_rows)
        self.pooling = self._embedder.pooling if plan.embedding else None
        self._delegate()
        if not plan.embedding:
            self._try(plan)

    def _delegate(self) -> None:
        """Those methods of Backend that other objects of this room have just as they are."""
        vocab, preparation, embedder = self._vocab, self._preparation, self._embedder
        self.piece, self.letters, self.marks = vocab.piece, vocab.letters, vocab.marks
        self.fill_marks = vocab.fill_marks
        self.prepare, self.prepared = preparation.prepare, preparation.prepared
        self.is_prepared, self.prepare_ahead = preparation.is_prepared, preparation.prepare_ahead
        self.load_adapter, self.free_adapter = self._adapters.load, self._adapters.free
        self.keep_on, self.slowdown = self._state.keep_on, self._compute.slowdown
        self.hand_out, self.take_in = self._state.hand_out, self._state.take_in
        self.embed, self.score_at = embedder.embed, embedder.score_at
        self.n_input = embedder.n_input
        self.pairs = Pairs(self._model, vocab.raw, vocab.tokenize, vocab.letters).join

    def _try(self, plan: Plan) -> None:
        """Find out what the context can do, and what a step takes. Raises LoadError."""
        first = FirstDecodes(self._loaded, self._vocab, self._state, self._decode_rows)
        try:
            self.limits = first.limits(self.limits, plan)
            self._copies.at_once = self.limits.state is not None
            self.rehearsed = self.rehearsed or self._rehearse(plan)
        except LoadError:
            raise
        except (EdgellmError, NoKVSlot) as error:
            raise LoadError("memory", f"the first decode failed: {error}") from error
        llama_cpp.llama_memory_clear(self._memory, True)
        known = self.rehearsed
        costs = StepCosts(known.decode, known.prompt, known.switch_s, LookingBack.of(plan))
        self.costs = self._costs.setdefault(layout_of(plan), costs)

    def _rehearse(self, plan: Plan) -> Rehearsed:
        """Raises EdgellmError, NoKVSlot."""
        limits, n_batch = self.limits, self.limits.n_batch
        return rehearse(
            self._decode_alone,
            time.perf_counter,
            self._vocab.any_token,
            n_decode_max=min(plan.n_parallel + limits.n_draft_rows, plan.n_outputs_max, n_batch),
            n_prompt_max=min(n_batch, limits.n_ctx_seq),
            n_sequences=plan.n_parallel,
        )

    def _decode_alone(self, rows: tuple[Row, ...]) -> None:
        llama_cpp.llama_memory_clear(self._memory, False)
        for own in self._split(rows):
            self._decode_rows(own)

    # ── words ────────────────────────────────────────────────────────────────

    def tokenize(self, text: str, add_special: bool, parse_special: bool = True) -> list[int]:
        """With `add_special`, a BOS exactly once: a chat template may have written it already."""
        data = text.encode("utf-8", "replace")
        if len(data) > self.limits.n_ctx_seq * MAX_TOKEN_BYTES:
            raise ContextTooLong(
                f"prompt is too long: {len(data)} bytes are far more than there can be in this "
                f"model's maximum context length of {self.limits.n_ctx_seq} tokens",
                hint="shorten the prompt, or serve with a larger --ctx",
                param="messages",
            )
        tokens, bos = self._vocab.tokenize(data, add_special, parse_special), self._vocab.bos
        return tokens[1:] if add_special and tokens[:2] == [bos, bos] else tokens

    # ── decoding ─────────────────────────────────────────────────────────────

    def decode(self, batch: Batch) -> Step:
        begun_s = time.perf_counter()
        computed_s, late_s = self._compute.elapsed_s, self._compute.late_mask_s
        drawn_s, masked_s = self._drawing.elapsed_s, self._drawing.mask_s
        set_up_s = self._drawing.set_up_s
        if self._positions:
            batch = self._positions.put(batch)
        if batch.ops:
            self._operate(batch.ops)
        anew_s = self._compute.elapsed_s - computed_s  # what a bad file didn't give back
        ops_s = time.perf_counter() - begun_s - anew_s
        set_up_s = self._drawing.set_up_s - set_up_s
        if not batch.rows:
            return Step({}, NativeTimes(ops_s, set_up_s=set_up_s))

        def compute(rows: tuple[Row, ...]) -> dict[int, tuple[Sampled, ...]]:
            self._computed = rows
            self._decode_rows(rows + batch.padding)
            return sampled_rows(rows, self._drawing.draw)

        with self._adapters.used(batch.adapters):
            split = partial(self._split, own_call=batch.apart)
            sampled = self._calls.run(batch.rows, split, compute)
        if batch.padding:
            llama_cpp.llama_memory_seq_rm(self._memory, batch.padding[0].seq_id, -1, -1)
        decode_s = self._compute.elapsed_s - computed_s
        sample_s, mask_s = self._drawing.elapsed_s - drawn_s, self._drawing.mask_s - masked_s
        late_s = self._compute.late_mask_s - late_s
        times = NativeTimes(ops_s, decode_s, sample_s, mask_s, late_s, set_up_s)
        return Step(sampled, times, n_threads=self._compute.n_threads)

    def while_computing(self, do: Callable[[], None]) -> None:
        def meanwhile() -> float:
            do()  # first, as clients wait for what it tells
            begun_s = time.perf_counter()
            self._drawing.look_ahead(self._computed)
            return time.perf_counter() - begun_s

        self._compute.meanwhile = meanwhile

    def leave_room(self, n_beside: Callable[[], int]) -> None:
        """`n_beside`: how many other threads of this process want a core during the next step."""
        self._compute.n_beside = n_beside

    def see(self, file: bytes, is_wanted: Callable[[], bool]) -> tuple[Piece, ...] | None:
        if self._sight is None:
            raise BadRequest(
                "this model neither sees nor hears", hint="serve it with --mmproj FILE"
            )
        return self._sight.see(file, is_wanted)

    def _split(
        self, rows: tuple[Row, ...], own_call: Set[int] = frozenset()
    ) -> Iterator[tuple[Row, ...]]:
        """All rows in one call, but for those of the ids in `own_call`; or batch-invariant each
        sequence's in its own: kernels round by the rows beside.

        A picture's rows are vectors, which no call has beside tokens.
        """
        if self._sight:
            tokens, pictures = apart(rows)
            yield from pictures
            rows = tokens
        if self._invariant:
            for _, alone in itertools.groupby(rows, lambda row: row.seq_id):
                yield tuple(alone)
            return
        own = tuple(row for row in rows if row.seq_id in own_call) if own_call else ()
        first = tuple(row for row in rows if row.seq_id not in own_call) if own else rows
        yield from filter(None, (first, own))

    def _decode_rows(self, rows: tuple[Row, ...]) -> None:
        if self._sight and is_picture(rows[0].token):
            sight, pictures = self._sight, self._drawing.pictures(rows[0].seq_id)
            self._compute.call(lambda: sight.decode(self._context, rows, pictures), rows)
        else:
            self._compute.rows(rows)

    def _operate(self, ops: tuple[Op, ...]) -> None:
        self._copies.begin()
        for op in ops:
            self._copies.heed(op)
            self._obey(op)
        self._copies.end()

    def _obey(self, op: Op) -> None:
        memory = self._memory
        match op:
            case Forget(seq_id):
                self._remove(seq_id, -1)
            case Trim(seq_id, length):
                self._remove(seq_id, length)
            case Fork(source, target, length):
                llama_cpp.llama_memory_seq_cp(memory, source, target, 0, length)
            case Copy(source, target, length):
                self._copies.copy(source, target, length)
            case Start():
                self._drawing.start(op)
            case Stop(seq_id):
                self._drawing.stop(seq_id)
            case _:
                self._state.obey(op)

    def _remove(self, seq_id: int, start: int) -> None:
        """Raises EdgellmError if a recurrent state can't go back: what should have gone would be in
        the next answer. Where it can, it can by the last step's rows but one; the caller must not
        ask for more, as llama.cpp would go back to a state that was never written."""
        if not llama_cpp.llama_memory_seq_rm(self._memory, seq_id, start, -1):
            raise EdgellmError(f"llama.cpp could not cut sequence {seq_id} at {start}")
