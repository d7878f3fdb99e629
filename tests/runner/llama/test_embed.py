"""Queries and documents as a ranking model's text, with a real vocabulary."""

import llama_cpp
import pytest
from real_model import demo_path

from edgellm.runner.llama.embed import Pairs

pytestmark = pytest.mark.model


def test_a_query_is_tokenized_once_for_all_its_documents():
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(demo_path()).encode(), params)
    read = []

    def tokenize(text, add_special, parse_special):
        read.append(text)
        return [*text]

    try:
        vocab = llama_cpp.llama_model_get_vocab(model)
        pairs = Pairs(model, vocab, tokenize, lambda token: b"")
        found = list(pairs.join("what", ("one", "two", "three"), 2))
    finally:
        llama_cpp.llama_model_free(model)
    assert read == [b"what", b"one", b"two", b"three"]
    for pair, document in zip(found, (b"on", b"tw", b"th"), strict=True):
        asked, text = pair.index(ord("w")), len(pair) - pair[::-1].index(document[-1])
        assert bytes(pair[asked : asked + 4]) == b"what"
        assert bytes(pair[text - 2 : text]) == document
