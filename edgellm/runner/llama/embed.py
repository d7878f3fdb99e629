"""Embeddings and ranks of llama.cpp: what a context made for them gives for a batch of inputs.

One call is one micro-batch, because a pooled row needs all of its sequence in it; where only the
last token counts (and earlier ones are in the KV cache), a long input goes down in several calls.
Source: tools/server/server-context.cpp `can_split`, `send_embedding`, `send_rerank`;
server-common.cpp `format_prompt_rerank`; src/llama-context.cpp `encode`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from edgellm.errors import EdgellmError
from edgellm.models.gguf.header import POOLINGS
from edgellm.runner.backend import Input
from edgellm.runner.batch import Row
from edgellm.runner.kv.memory import Limits

_NO_ROPE = -1  # enum llama_rope_type: positions are learned, and there are no more than trained
_YES = ("yes", "true", "relevant", "entailment")  # a classifier's label for "it is about that"

Vector = npt.NDArray[np.float32]
Tokenize = Callable[[bytes, bool, bool], list[int]]  # add_special, parse_special


class Embedder:
    """Of a context with embeddings on. `decode` computes rows, or raises."""

    def __init__(
        self,
        model: Any,
        context: Any,
        limits: Limits,
        decode: Callable[[tuple[Row, ...]], None],
    ) -> None:
        self._model, self._context, self._limits, self._decode = model, context, limits, decode
        self._memory = llama_cpp.llama_get_memory(context)
        self.pooling = POOLINGS[llama_cpp.llama_pooling_type(context)]
        self.n_input = self._longest()
        self.score_at = self._score_at()

    def embed(self, inputs: Sequence[Input]) -> list[bytes]:
        """float32, little-endian: a vector, or one for each token where nothing is pooled, or what
        the classifier says. Together they fit n_batch, or it is one that is longer."""
        if self._memory is not None:
            llama_cpp.llama_memory_clear(self._memory, False)
        rows = tuple(
            Row(seq_id, pos, token, wants_logits=True)
            for seq_id, each in enumerate(inputs)
            for pos, token in enumerate(each.tokens)
        )
        if self.pooling == "none":
            return self._of_tokens(inputs, rows)
        n_batch = self._limits.n_batch
        for start in range(0, len(rows), n_batch):
            self._decode(rows[start : start + n_batch])
        return [self._of_sequence(seq_id, each) for seq_id, each in enumerate(inputs)]

    def _of_tokens(self, inputs: Sequence[Input], rows: tuple[Row, ...]) -> list[bytes]:
        """As they are: llama-server doesn't normalise them either."""
        self._decode(rows)
        n_embd = int(llama_cpp.llama_model_n_embd_out(self._model))
        found, at = [], 0
        for each in inputs:
            end = at + len(each.tokens)
            found.append(b"".join(self._of_token(row, n_embd) for row in range(at, end)))
            at = end
        return found

    def _of_token(self, row: int, n_embd: int) -> bytes:
        pointer = llama_cpp.llama_get_embeddings_ith(self._context, row)
        if not pointer:
            raise EdgellmError(f"llama.cpp has no embedding of token {row}")
        return np.ctypeslib.as_array(pointer, shape=(n_embd,)).astype("<f4").tobytes()

    def _of_sequence(self, seq_id: int, each: Input) -> bytes:
        pointer = llama_cpp.llama_get_embeddings_seq(self._context, seq_id)
        if not pointer:
            raise EdgellmError(
                f"this model pools nothing for an input of {len(each.tokens)} tokens"
            )
        size = llama_cpp.llama_model_n_embd_out
        ranks = self.pooling == "rank"
        n = int((llama_cpp.llama_model_n_cls_out if ranks else size)(self._model))
        vector = np.ctypeslib.as_array(pointer, shape=(n,)).astype(np.float32)
        return (vector if ranks else normalized(vector, each.norm)).astype("<f4").tobytes()

    def _longest(self) -> int:
        limits = self._limits
        causal = self._memory is not None and llama_cpp.llama_get_causal_attn(self._context)
        can_split = causal and self.pooling in ("last", "rank") and not limits.n_chunk
        longest = limits.n_ctx_seq if can_split else min(limits.n_batch, limits.n_ctx_seq)
        if llama_cpp.llama_model_rope_type(self._model) == _NO_ROPE:
            return min(longest, int(llama_cpp.llama_model_n_ctx_train(self._model)))
        return longest

    def _score_at(self) -> int:
        """Which of the classifier's numbers says how relevant: by its label, else the first."""
        if self.pooling != "rank":
            return 0
        n_labels = int(llama_cpp.llama_model_n_cls_out(self._model))
        labels = [llama_cpp.llama_model_cls_label(self._model, i) or b"" for i in range(n_labels)]
        words = [label.decode("utf-8", "replace").lower() for label in labels]
        return next((words.index(yes) for yes in _YES if yes in words), 0)


class Pairs:
    """A query and a document as the one text that a ranking model was trained on."""

    def __init__(
        self, model: Any, vocab: Any, tokenize: Tokenize, piece: Callable[[int], bytes]
    ) -> None:
        self._vocab, self._tokenize, self._piece = vocab, tokenize, piece
        template = llama_cpp.llama_model_chat_template(model, b"rerank")
        self._template: bytes | None = template or None

    def join(
        self, query: str, documents: Sequence[str], max_doc_tokens: int | None
    ) -> Iterator[list[int]]:
        """With `max_doc_tokens` a longer document is cut.

        The query is tokenized once, unless a template wants it in one text with each document.
        """
        asked = query.encode("utf-8", "replace")
        texts = (document.encode("utf-8", "replace") for document in documents)
        if self._template is None:
            question = self._tokenize(asked, False, False)
            for text in texts:
                yield self._joined(question, self._tokenize(text, False, False)[:max_doc_tokens])
            return
        parts = self._template.split(b"{document}")  # a document may say "{query}" itself
        around = [part.replace(b"{query}", asked) for part in parts]
        for text in texts:
            body = text if max_doc_tokens is None else self._cut(text, max_doc_tokens)
            yield self._tokenize(body.join(around), False, True)

    def _joined(self, query: list[int], document: list[int]) -> list[int]:
        """[BOS] query [EOS] [SEP] document [EOS], each mark where the vocabulary adds it."""
        vocab = self._vocab
        sep = int(llama_cpp.llama_vocab_sep(vocab))
        eos = int(llama_cpp.llama_vocab_eos(vocab))
        bos = [int(llama_cpp.llama_vocab_bos(vocab))] * llama_cpp.llama_vocab_get_add_bos(vocab)
        end = [sep if eos < 0 else eos] * llama_cpp.llama_vocab_get_add_eos(vocab)
        between = [sep] * llama_cpp.llama_vocab_get_add_sep(vocab)
        return [*bos, *query, *end, *between, *document, *end]

    def _cut(self, text: bytes, n_tokens: int) -> bytes:
        return b"".join(map(self._piece, self._tokenize(text, False, False)[:n_tokens]))


def normalized(vector: Vector, norm: int) -> Vector:
    """llama-server's `embd_normalize`: -1 as it is, 0 scaled so that the largest is 32760 (int16),
    else to p-norm 1. Source: common/common.cpp `common_embd_normalize`."""
    size: float
    if norm < 0:
        return vector
    if norm == 0:
        size = float(np.abs(vector).max(initial=0.0)) / 32760.0
    else:
        size = float(np.linalg.norm(vector.astype(np.float64), norm))
    return (vector / size if size else vector).astype(np.float32)
