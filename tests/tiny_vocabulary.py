"""The vocabulary of the tiny models that tests make: bytes, a space and letters."""

_LETTERS = [chr(code) for code in range(97, 123)]
_TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *_LETTERS]
N_VOCAB = len(_TOKENS)


def metadata(architecture, own):
    """Of a whole model. `own`: what the architecture's keys say, without its name."""
    return {
        "general.architecture": architecture,
        "general.file_type": 0,
        **{f"{architecture}.{key}": value for key, value in own.items()},
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": _TOKENS,
        "tokenizer.ggml.scores": [-float(i) for i in range(N_VOCAB)],
        "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * (N_VOCAB - 259)],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
