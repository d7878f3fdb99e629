"""The trained model and its vocabulary as one GGUF file in F16."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy

from scripts.demo.corpus import CHAT_TEMPLATE
from scripts.demo.model import Llama, Shape
from scripts.demo.tokenizer import BOS, EOS, FIRST_BYTE, IM_END, IM_START, Vocabulary


def export(path: Path, model: Llama, vocabulary: Vocabulary) -> None:
    """Writes the file; matrices in F16, norms in F32 as llama.cpp wants them."""
    writer = gguf.GGUFWriter(path, "llama")
    _add_identity(writer)
    _add_shape(writer, model.shape)
    _add_vocabulary(writer, vocabulary)
    for name, weight in model.state_dict().items():
        values = weight.numpy().astype(numpy.float32 if weight.dim() == 1 else numpy.float16)
        writer.add_tensor(_gguf_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf_name(name: str) -> str:
    return name.replace("attn.output", "attn_output").replace("attn.", "attn_")


def _add_identity(writer: gguf.GGUFWriter) -> None:
    writer.add_name("edgellm demo")
    writer.add_description("Tells short stories. Trained on text that edgellm's scripts generate.")
    writer.add_license("mit")
    writer.add_languages(["en"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def _add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(shape.n_ctx_train)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layer)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_head)
    writer.add_head_count_kv(shape.n_head_kv)
    writer.add_rope_dimension_count(shape.n_embd_head)
    writer.add_rope_freq_base(shape.rope_freq_base)
    writer.add_layer_norm_rms_eps(shape.norm_rms_eps)
    writer.add_vocab_size(shape.n_vocab)


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    kinds = [gguf.TokenType.NORMAL] * len(vocabulary)
    kinds[0] = gguf.TokenType.UNKNOWN
    for control in (BOS, EOS, IM_START, IM_END):
        kinds[control] = gguf.TokenType.CONTROL
    kinds[FIRST_BYTE:IM_START] = [gguf.TokenType.BYTE] * 256
    n_before = len(vocabulary) - len(vocabulary.pieces)
    scores = [0.0] * n_before + [-float(rank) for rank in range(len(vocabulary.pieces))]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text.encode() for text in vocabulary.texts()])
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_eot_token_id(IM_END)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)
