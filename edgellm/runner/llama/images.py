"""Pictures and sound through llama.cpp's mtmd: a file becomes rows, and rows are decoded.

Two threads meet here. `see` belongs to the one that looks at pictures: it decodes the file, cuts
and scales it as the projector wants, and runs the encoder, whose buffers are its own. `decode`
belongs to the loop. They share nothing but finished vectors. Sound goes the same way: a picture,
here, is whatever the projector makes rows of.

mtmd's functions throw nothing over the border: they return a code, and say why on their log.
Sources: tools/mtmd/mtmd.h, mtmd-helper.cpp mtmd_helper_decode_image_chunk.
"""

import contextlib
import ctypes
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import mtmd_cpp as mtmd

from edgellm.chat import sounds
from edgellm.chat.pictures import check_depth
from edgellm.errors import BadRequest, ContextTooLong, EdgellmError
from edgellm.runner.batch import Row
from edgellm.runner.intake.pictures import (
    PictureRows,
    Piece,
    Placed,
    is_picture,
    position,
    row_ids,
    saved,
)
from edgellm.runner.llama.load import Loaded, LoadError, device_handles, listener
from edgellm.runner.loadlog import last_error, says_out_of_memory
from edgellm.selector.plan import Plan

_CACHE_BYTES = 256 << 20  # of vectors, for pictures that come again
_FLOAT_BYTES = 4
_DIMENSIONS = 4  # of a position: time, height, width, and one that nobody uses
# What stb_image can't read would go to ffmpeg as a video: strangers' bytes, another process.
_NO_FFMPEG = b"/dev/null"
_MOVING = np.array([[1], [1], [1], [0]], np.int32)  # the dimensions that a text before it moves
_LARGE_SIDE = 4096  # pixels; no projector of llama.cpp's makes more tokens of a larger picture
_PIECE_S = 30  # what encoders of sound are made for, and what a plan counts (projectors.py)
_LISTENING: list[Any] = []  # mtmd has one log for the whole process


class Sight:
    def __init__(self, path: str, loaded: Loaded, plan: Plan) -> None:
        """Raises LoadError, also for projectors that this runner can't serve."""
        self._plan = plan
        self._mtmd = _load(os.fsencode(path), loaded.model, plan)
        loaded.owned.callback(mtmd.mtmd_free, self._mtmd)
        self._n_embd = int(llama_cpp.llama_model_n_embd_inp(loaded.model))
        self._whole = bool(mtmd.mtmd_decode_use_non_causal(self._mtmd, None))
        self._sees = bool(mtmd.mtmd_support_vision(self._mtmd))
        self._hears = bool(mtmd.mtmd_support_audio(self._mtmd))
        self._most_s, self._piece_rows = self._hearing() if self._hears else (0.0, 0)
        self.uses_mrope = bool(mtmd.mtmd_decode_use_mrope(self._mtmd))
        self._refuse_others()
        self._batch = llama_cpp.llama_batch_init(plan.n_batch, self._n_embd, 1)
        self._pos = (llama_cpp.llama_pos * (plan.n_batch * _DIMENSIONS))()
        self._batch.pos = self._pos
        self._seen: OrderedDict[bytes, tuple[Piece, ...]] = OrderedDict()
        self._seen_bytes = 0

    # ── looking: the other thread's ──────────────────────────────────────────

    def see(
        self, file: bytes, is_wanted: Callable[[], bool] = lambda: True
    ) -> tuple[Piece, ...] | None:
        """The file's rows, and the tokens that the model wants around them. Raises BadRequest,
        ContextTooLong. None: it `is_wanted` no more, which is asked between its pieces.

        A file that was seen a while ago costs its digest.
        """
        digest = hashlib.sha256(file).digest()
        if digest in self._seen:
            self._seen.move_to_end(digest)
            return self._seen[digest]
        with _Bitmap(self._mtmd, self._checked(file)) as bitmap, _cut(self._mtmd, bitmap) as chunks:
            self._check_rows(sum(map(_rows_of, chunks)))
            found = []
            for i, chunk in enumerate(chunks):
                if not is_wanted():
                    return None
                found.append(self._piece(digest, i, chunk))
        pieces = tuple(found)
        self._keep(digest, pieces)
        return pieces

    def _checked(self, file: bytes) -> bytes:
        """What a decoder may read of it. Raises BadRequest."""
        if sounds.format_of(file):
            if not self._hears:
                raise BadRequest("this model hears no sound: its projector is for pictures")
            sound = sounds.measured(file, self._most_s)
            self._check_rows(int(sound.length_s // _PIECE_S) * self._piece_rows)
            return sound.file
        if not self._sees:
            raise BadRequest("this model sees no pictures: its projector is for sound")
        check_depth(file)
        return file

    def _check_rows(self, n_rows: int) -> None:
        """Before they are encoded, which may take minutes; a sound's before it is decoded, too."""
        n_ctx = self._plan.n_ctx_seq
        if n_rows >= n_ctx:
            raise ContextTooLong(
                f"prompt is too long: at least {n_rows} tokens > {n_ctx - 1} maximum; this alone "
                "exceeds the available context size",  # as scheduler.py says it
                hint="send less of it, or serve with a larger --ctx",
                sizes=(n_rows, n_ctx),
            )

    def _piece(self, digest: bytes, i: int, chunk: Any) -> Piece:
        n_rows = _rows_of(chunk)
        kind = mtmd.mtmd_input_chunk_get_type(chunk)
        if kind == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
            count = ctypes.c_size_t()
            tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
            return tuple(tokens[: count.value])
        whole = bool(mtmd.mtmd_decode_use_non_causal(self._mtmd, chunk))
        if whole and n_rows > self._plan.n_ubatch:
            raise BadRequest(
                f"it becomes {n_rows} tokens, which this model must see at once; "
                f"the micro-batch is {self._plan.n_ubatch}",
                hint=f"scale it down, or serve with --ubatch-size {n_rows}",
            )
        vectors = self._encoded(chunk, n_rows)
        ids, places, n_positions = row_ids(digest, i, n_rows), None, None
        if self.uses_mrope and kind == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE:
            places = _places(chunk, n_rows)
            n_positions = int(mtmd.mtmd_input_chunk_get_n_pos(chunk))
        return PictureRows(ids, vectors, vectors.nbytes, whole, places, n_positions)

    def _encoded(self, chunk: Any, n_rows: int) -> Any:
        if mtmd.mtmd_encode_chunk(self._mtmd, chunk) != 0:
            raise BadRequest("the model's encoder refuses it")
        found = mtmd.mtmd_get_output_embd(self._mtmd)
        vectors = np.ctypeslib.as_array(found, shape=(n_rows, self._n_embd)).copy()
        if not np.isfinite(vectors).all():
            raise BadRequest("the model's encoder gives no numbers for it")
        return vectors

    def _keep(self, digest: bytes, pieces: tuple[Piece, ...]) -> None:
        self._seen[digest] = pieces
        self._seen_bytes += _bytes_of(pieces)
        while self._seen_bytes > _CACHE_BYTES:
            _, oldest = self._seen.popitem(last=False)
            self._seen_bytes -= _bytes_of(oldest)

    # ── decoding: the loop's ─────────────────────────────────────────────────

    def decode(self, context: Any, rows: Sequence[Row], pictures: Sequence[Placed]) -> int:
        """Rows of one picture, one after the other. Returns llama_decode's code."""
        first = rows[0].pos
        picture = next(one for one in pictures if one.start <= first < one.end)
        n, batch = len(rows), self._batch
        batch.n_tokens = n
        vectors = picture.rows.vectors[first - picture.start :][:n]
        ctypes.memmove(batch.embd, vectors.ctypes.data, n * self._n_embd * _FLOAT_BYTES)
        for i, row in enumerate(rows):
            batch.n_seq_id[i], batch.logits[i] = 1, row.wants_logits
            batch.seq_id[i][0] = row.seq_id
        positions = self._positions(rows, picture, pictures)
        self._pos[: len(positions)] = positions
        with _attention(context, both_ways=picture.rows.at_once):
            return int(llama_cpp.llama_decode(context, batch))

    def _positions(
        self, rows: Sequence[Row], picture: Placed, pictures: Sequence[Placed]
    ) -> list[int]:
        """Of all rows in the first dimension, then of all in the second, and so on."""
        savings = saved(pictures)
        if picture.rows.places is None:  # one after the other, in every dimension
            n_dimensions = _DIMENSIONS if self.uses_mrope else 1
            return [position(row.pos, savings) for row in rows] * n_dimensions
        begin = rows[0].pos - picture.start
        own = picture.rows.places[:, begin : begin + len(rows)]
        moved = own + position(picture.start, savings) * _MOVING
        return [int(one) for one in moved.ravel()]

    # ── what can be served ───────────────────────────────────────────────────

    def _refuse_others(self) -> None:
        if not (self._sees or self._hears):
            raise LoadError("file", "this projector is neither for pictures nor for sound")
        most = self._most_rows() if self._whole and self._sees else 0
        if most > self._plan.n_ubatch:
            raise LoadError(
                "other",
                f"a picture may become {most} tokens, which this model must see at once; "
                f"the micro-batch is {self._plan.n_ubatch}: serve with --ubatch-size {most}",
            )

    def _most_rows(self) -> int:
        """Of a very large picture, by a placeholder: nothing is drawn, cut or encoded."""
        large = mtmd.mtmd_bitmap_init(_LARGE_SIDE, _LARGE_SIDE, None)
        return max((n_rows for _, n_rows in self._tried(large)), default=0)

    def _hearing(self) -> tuple[float, int]:
        """How long a sound may be, and how many rows a whole piece of it becomes. Of an encoder
        that reads a recording whole, however long, nobody has planned the memory."""
        n_samples = (_PIECE_S + 1) * int(mtmd.mtmd_get_audio_sample_rate(self._mtmd))
        tried = self._tried(mtmd.mtmd_bitmap_init_from_audio(n_samples, None))
        rows = [n_rows for kind, n_rows in tried if kind == mtmd.MTMD_INPUT_CHUNK_TYPE_AUDIO]
        return (sounds.MAX_S, rows[0]) if len(rows) > 1 else (float(_PIECE_S), 0)

    def _tried(self, placeholder: Any) -> list[tuple[int, int]]:
        """The kinds of its pieces, and the rows of each."""
        with contextlib.ExitStack() as cleanup, contextlib.suppress(BadRequest):
            cleanup.callback(mtmd.mtmd_bitmap_free, placeholder)
            chunks = cleanup.enter_context(_cut(self._mtmd, placeholder))
            return [(mtmd.mtmd_input_chunk_get_type(one), _rows_of(one)) for one in chunks]
        return []


def apart(rows: Sequence[Row]) -> tuple[tuple[Row, ...], list[tuple[Row, ...]]]:
    """Tokens, and the rows of each sequence's picture: of one step, a sequence has one of them."""
    tokens = tuple(row for row in rows if not is_picture(row.token))
    if len(tokens) == len(rows):
        return tokens, []
    pictures = (row for row in rows if is_picture(row.token))
    return tokens, [tuple(own) for _, own in groupby(pictures, lambda row: row.seq_id)]


def _load(path: bytes, model: Any, plan: Plan) -> Any:
    """On the first accelerator that takes part, or with the CPU's memory where none does.

    With flash attention wherever it works, whatever the model has: without, a large picture's graph
    takes a GiB more than is planned, and the same picture always gives the same rows either way.
    """
    params = mtmd.mtmd_context_params_default()
    params.use_gpu = bool(plan.devices)
    if plan.devices:
        params.device = device_handles(plan.devices[:1])[0]
    params.print_timings = False
    params.n_threads = plan.n_threads
    lines: list[str] = []
    _listen(lines)
    found = mtmd.mtmd_init_from_file(path, model, params)
    _listen(None)
    if not found:
        kind = "memory" if says_out_of_memory(lines) else "file"
        cause = last_error(lines) or "llama.cpp gave no reason"
        raise LoadError(kind, f"llama.cpp could not load the projector: {cause}")
    return found


def _listen(lines: list[str] | None) -> None:
    callback = listener(lines)
    mtmd.mtmd_helper_log_set(callback, ctypes.c_void_p(0))
    _LISTENING[:] = [callback]


class _Bitmap:
    """A file's pixels or samples, for as long as the block lasts. Raises BadRequest."""

    def __init__(self, context: Any, file: bytes) -> None:
        self._context, self._file = context, file

    def __enter__(self) -> Any:
        options = mtmd.mtmd_helper_init_opt_default()
        options.video_params.ffmpeg_bin_dir = _NO_FFMPEG
        buffer = (ctypes.c_uint8 * len(self._file)).from_buffer_copy(self._file)
        self._bitmap = mtmd.mtmd_helper_bitmap_init_from_buf(
            self._context, buffer, len(self._file), False, options
        )
        if not self._bitmap:
            raise BadRequest("it is damaged, or of a kind that isn't read here")
        return self._bitmap

    def __exit__(self, *_: object) -> None:
        mtmd.mtmd_bitmap_free(self._bitmap)


@contextlib.contextmanager
def _cut(context: Any, bitmap: Any) -> Iterator[list[Any]]:
    """Into pieces that the encoder takes, and text around them. Raises BadRequest."""
    chunks = mtmd.mtmd_input_chunks_init()
    if not chunks:
        raise EdgellmError("llama.cpp has no memory for a picture")
    try:
        part = mtmd.mtmd_input_part(None, bitmap)
        parts = (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))
        if mtmd.mtmd_tokenize_from_parts(context, chunks, parts, 1, False) != 0:
            raise BadRequest("it can't be cut to what the model reads")
        n_chunks = mtmd.mtmd_input_chunks_size(chunks)
        yield [mtmd.mtmd_input_chunks_get(chunks, i) for i in range(n_chunks)]
    finally:
        mtmd.mtmd_input_chunks_free(chunks)


def _rows_of(chunk: Any) -> int:
    return int(mtmd.mtmd_input_chunk_get_n_tokens(chunk))


def _places(chunk: Any, n_rows: int) -> Any:
    """Of a picture at the very beginning. Source: mtmd-helper-common.h set_position_mrope_2d."""
    found = (mtmd.mtmd_decoder_pos * n_rows)()
    tokens = mtmd.mtmd_input_chunk_get_tokens_image(chunk)
    mtmd.mtmd_helper_image_get_decoder_pos(tokens, 0, found)
    return np.array([[p.t, p.y, p.x, p.z] for p in found], np.int32).T


def _bytes_of(pieces: Sequence[Piece]) -> int:
    return sum(piece.n_bytes for piece in pieces if isinstance(piece, PictureRows))


@contextlib.contextmanager
def _attention(context: Any, *, both_ways: bool) -> Iterator[None]:
    if not both_ways:
        yield
        return
    llama_cpp.llama_set_causal_attn(context, False)
    try:
        yield
    finally:
        llama_cpp.llama_set_causal_attn(context, True)
