"""An engine that sees or hears beside mtmd's own helper, which says what its answer is to be.

Kernels for quantised weights round by how many rows there are, which may turn a near tie. A wrong
cell, position or mask moves logits by 3 to 6 (see test_exactness.py)."""

import asyncio
import ctypes
import os

import llama_cpp
import numpy as np
from llama_cpp import mtmd_cpp as mtmd
from real_model import demo_path, plan

from edgellm.chat.events import Failed, Finished, TextDelta
from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.chat.pictures import Pictures
from edgellm.runner.supervisor import Supervisor

MARK = "(picture)"
N = 24
TIE = 0.15  # natural log: what rounding can turn round


class Reference:
    """The model alone, and mtmd's helper to fill its memory. Greedy."""

    def __init__(self, model_path, projector_path):
        llama_cpp.llama_backend_init()
        path, params = os.fsencode(model_path), llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(path, params)
        own = mtmd.mtmd_context_params_default()
        own.use_gpu, own.n_threads, own.media_marker = False, 1, MARK.encode()
        self.sight = mtmd.mtmd_init_from_file(os.fsencode(projector_path), self.model, own)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = 512, 512, 512
        params.n_threads = params.n_threads_batch = 1
        params.flash_attn_type = 0
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)

    def __del__(self):
        mtmd.mtmd_free(self.sight)
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)

    def answer(self, prompt, files, n=N):
        """The tokens up to an end, and how many positions the prompt took."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        at, tokens = self._read(prompt, files), []
        while len(tokens) < n:
            token = self._likeliest()
            if llama_cpp.llama_vocab_is_eog(self.vocab, token):
                break
            tokens.append(token)
            batch = llama_cpp.llama_batch_get_one((llama_cpp.llama_token * 1)(token), 1)
            assert llama_cpp.llama_decode(self.context, batch) == 0
        return tokens, at

    def _read(self, prompt, files):
        bitmaps = (mtmd.mtmd_bitmap_p_ctypes * len(files))()
        for i, file in enumerate(files):
            buffer = (ctypes.c_uint8 * len(file)).from_buffer_copy(file)
            found = mtmd.mtmd_helper_bitmap_init_from_buf(self.sight, buffer, len(file), False)
            bitmaps[i] = found
        text = mtmd.mtmd_input_text(prompt.encode(), len(prompt.encode()), True, True)
        chunks, at = mtmd.mtmd_input_chunks_init(), llama_cpp.llama_pos(0)
        args = (self.sight, chunks, ctypes.byref(text), bitmaps, len(files))
        assert mtmd.mtmd_tokenize(*args) == 0
        code = mtmd.mtmd_helper_eval_chunks(
            self.sight, self.context, chunks, 0, 0, 512, True, ctypes.byref(at)
        )
        assert code == 0
        return at.value

    def _likeliest(self):
        logits = llama_cpp.llama_get_logits_ith(self.context, -1)
        n = llama_cpp.llama_vocab_n_tokens(self.vocab)
        return int(np.ctypeslib.as_array(logits, shape=(n,)).argmax())


async def said(engine, prompt, files=(), n=N, **more):
    """The text and how it ended."""
    names = tuple(f"picture {i}" for i in range(len(files)))
    pictures = Pictures(MARK, tuple(files), names) if files else None
    params = GenerateParams(SamplingParams(temperature=0), n, pictures=pictures, **more)
    text, end = "", None
    async for event in engine.generate(prompt, params):
        if isinstance(event, TextDelta):
            text += event.text
        else:
            end = event
    assert isinstance(end, Finished | Failed)
    return text, end


async def told_of(engine, prompt, files, **more):
    """The tokens with their logprobs, and how it ended."""
    pictures = Pictures(MARK, tuple(files), ("a picture",) * len(files))
    params = GenerateParams(SamplingParams(temperature=0), N, pictures=pictures, logprobs=5, **more)
    tokens, end = [], None
    async for event in engine.generate(prompt, params):
        if isinstance(event, TextDelta):
            tokens += event.logprobs
        else:
            end = event
    assert isinstance(end, Finished)
    return tokens, end


def says(told, wanted):
    """Whether these are the tokens, up to where two were so near that rounding decided."""
    for token, first in zip(told[0], wanted, strict=False):
        if token.token != first:
            rivals = {rival: logprob for rival, _, logprob in token.top}
            return token.logprob - rivals.get(first, float("-inf")) <= TIE
    return True


def all_say(told, wanted):
    return all(says(one, tokens) for one, tokens in zip(told, wanted, strict=True))


def served(work, projector, model=None, **choices):
    """What `work` gives, asked an engine that sees or hears."""

    async def run():
        engine = Supervisor(str(model or demo_path()), plan(projector=projector, **choices))
        await engine.start()
        try:
            return await work(engine)
        finally:
            await engine.stop()

    return asyncio.run(run())
