"""Pictures through the real llama.cpp: the answer is what mtmd's own helper gives, whoever else is
there, and a picture that came before costs nothing again."""

import asyncio
import ctypes
import os

import llama_cpp
import numpy as np
import pytest
from llama_cpp import mtmd_cpp as mtmd
from pictures import png, png_of
from projector_files import projector_bytes
from real_model import SHARED_MODELS, demo_path, needs_shared_models, plan

from edgellm.chat.events import Failed, Finished, TextDelta
from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.chat.pictures import Pictures
from edgellm.models import local
from edgellm.runner.supervisor import Supervisor

pytestmark = pytest.mark.model

MARK = "(picture)"
RED, BLUE = png(colour=(255, 0, 0)), png(colour=(0, 0, 255))
PROMPTS = [
    (f"Once {MARK} upon a time", [RED]),
    (f"Once {MARK} upon a time", [BLUE]),
    (f"{MARK}{MARK} Tim had a", [RED, BLUE]),
    (f"One day {MARK}, {MARK} and {MARK}. Lily", [BLUE, RED, BLUE]),
]
N = 24
KINDS = ("mlp", "gemma3")
TIE = 0.15  # natural log: what rounding can turn round


@pytest.fixture(scope="module")
def projectors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("projectors")
    for kind in KINDS:
        (folder / kind).write_bytes(projector_bytes(kind))
    return {kind: str(folder / kind) for kind in KINDS}


class Reference:
    """The model alone, and mtmd's helper to fill its memory. Greedy."""

    def __init__(self, model_path, projector_path):
        llama_cpp.llama_backend_init()
        path, params = os.fsencode(model_path), llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(path, params)
        own = mtmd.mtmd_context_params_default()
        own.use_gpu, own.n_threads, own.media_marker = False, 1, MARK.encode()
        own.flash_attn_type = 0
        self.sight = mtmd.mtmd_init_from_file(os.fsencode(projector_path), self.model, own)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = 512, 512, 512
        params.n_threads = params.n_threads_batch = 1
        params.flash_attn_type = 0
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)

    def answer(self, prompt, files, n):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        at, text = self._read(prompt, files), b""
        for _ in range(n):
            token = self._likeliest()
            if llama_cpp.llama_vocab_is_eog(self.vocab, token):
                break
            text += self._piece(token)
            batch = llama_cpp.llama_batch_get_one((llama_cpp.llama_token * 1)(token), 1)
            assert llama_cpp.llama_decode(self.context, batch) == 0
        return text.decode(errors="replace"), at

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

    def _piece(self, token):
        buffer = ctypes.create_string_buffer(64)
        n = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, 64, 0, False)
        return buffer.raw[:n]


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
    pictures = Pictures(MARK, tuple(files), ("picture",) * len(files))
    params = GenerateParams(SamplingParams(temperature=0), N, pictures=pictures, logprobs=5, **more)
    tokens, end = [], None
    async for event in engine.generate(prompt, params):
        if isinstance(event, TextDelta):
            tokens += event.logprobs
        else:
            end = event
    assert isinstance(end, Finished)
    return tokens, end


def gap_where_it_parts(tokens, wanted):
    """By how much the model preferred the other token there; 0 where it says the same."""
    for token, first in zip(tokens, wanted, strict=False):
        if token.token != first.token:
            rivals = {rival: logprob for rival, _, logprob in token.top}
            return token.logprob - rivals.get(first.token, float("-inf"))
    return 0.0


def served(work, projector, model=None, **choices):
    """What `work` gives, asked an engine that sees."""

    async def run():
        engine = Supervisor(str(model or demo_path()), plan(projector=projector, **choices))
        await engine.start()
        try:
            return await work(engine)
        finally:
            await engine.stop()

    return asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unified", [True, False], ids=["unified", "split"])
def test_alone_and_in_a_crowd_the_answer_is_that_of_mtmds_own_helper(projectors, kind, unified):
    reference = Reference(demo_path(), projectors[kind])
    wanted = [reference.answer(*asked, N) for asked in PROMPTS]
    assert len({text for text, _ in wanted}) > 1  # the pictures make a difference

    async def work(engine):
        alone = [await said(engine, *asked, cache_prompt=False) for asked in PROMPTS]
        text = said(engine, "Once upon a time", n=200, cache_prompt=False)
        crowd = await asyncio.gather(text, *(said(engine, *asked) for asked in PROMPTS * 3))
        return alone, crowd[1:]

    alone, crowd = served(work, projectors[kind], kv_unified=unified)
    assert [(text, end.n_prompt) for text, end in alone] == wanted
    assert [text for text, _ in crowd] == [text for text, _ in wanted * 3]


@needs_shared_models
@pytest.mark.parametrize("size", ["", "pad-"], ids=["64 wide", "256 wide"])
def test_the_recorded_pair_answers_as_mtmds_own_helper(size):
    model = SHARED_MODELS / f"stories260K-{size or 'chat-'}f16.gguf"
    projector = str(SHARED_MODELS / f"stories260K-{size}mmproj-random-f16.gguf")
    reference = Reference(model, projector)

    async def work(engine):
        return [await said(engine, *asked) for asked in PROMPTS]

    answers = served(work, projector, model)
    assert [(t, end.n_prompt) for t, end in answers] == [reference.answer(*a, N) for a in PROMPTS]


@needs_shared_models
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["gemma3", "lfm2", "mamba", "qwen3"])
def test_sliding_hybrid_and_recurrent_models_see_alike(tmp_path, name, kind):
    """What these say is no text, and near a tie another rounding turns it: their weights are random
    and quantised. A wrong cell, position or mask moves logits by 3 to 6 (see test_exactness.py)."""
    model, path = SHARED_MODELS / f"tiny-{name}-q8_0.gguf", tmp_path / "mmproj"
    path.write_bytes(projector_bytes(kind, local.read_spec(model).n_embd))
    reference = Reference(model, str(path))

    async def work(engine):
        alone = [await said(engine, *asked, cache_prompt=False) for asked in PROMPTS]
        told = [await told_of(engine, *asked, cache_prompt=False) for asked in PROMPTS]
        text = said(engine, "Once upon a time", n=100)
        await asyncio.gather(text, *(told_of(engine, *asked) for asked in PROMPTS))
        again = await asyncio.gather(*(told_of(engine, *asked) for asked in PROMPTS))
        return alone, told, again

    alone, told, again = served(work, str(path), model)
    assert [(t, end.n_prompt) for t, end in alone] == [reference.answer(*a, N) for a in PROMPTS]
    for (tokens, _), (first, _) in zip(again, told, strict=True):
        assert gap_where_it_parts(tokens, first) <= TIE
    assert sum(end.n_cached for _, end in again) > sum(end.n_prompt for _, end in again) / 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unified", [True, False], ids=["unified", "split"])
def test_a_picture_that_was_read_is_not_read_again(projectors, kind, unified):
    async def work(engine):
        first, end = await said(engine, f"A long story begins here {MARK} and so it goes:", [RED])
        again = f"A long story begins here {MARK} and so it goes:{first} And then"
        return end, (await said(engine, again, [RED]))[1], (await said(engine, again, [BLUE]))[1]

    first, second, other = served(work, projectors[kind], kv_unified=unified)
    assert second.n_cached >= first.n_prompt
    assert other.n_cached < first.n_prompt - 8  # up to the picture, at most


def test_batch_invariant_a_picture_is_chunked_as_ever(projectors):
    async def work(engine):
        prompt = f"{'word ' * 120}{MARK}{' and' * 60} so"
        alone = await said(engine, prompt, [RED], cache_prompt=False)
        shared = await asyncio.gather(*(said(engine, prompt, [RED]) for _ in range(3)))
        return alone, shared

    choices = {"batch_invariant": True, "kv_unified": False}
    alone, shared = served(work, projectors["mlp"], **choices)
    assert {text for text, _ in shared} == {alone[0]}
    assert any(end.n_cached for _, end in shared)


def test_bad_pictures_cost_their_own_request_only(projectors):
    async def work(engine):
        neighbour = asyncio.create_task(said(engine, "Once upon a time", n=200))
        damaged = await said(engine, f"{MARK}{MARK}", [RED, RED[:70]])
        no_size = await said(engine, MARK, [png_of(8, 8, b"")])
        strange = await said(engine, MARK, [b"\xff\xd8\xff\xc0\0\x11\x08\0\x08\0\x08\3" + bytes(9)])
        return damaged, no_size, strange, await neighbour, await said(engine, MARK, [RED])

    *bad, neighbour, good = served(work, projectors["mlp"])
    for _, end in bad:
        assert isinstance(end, Failed)
        assert end.http_status == 400
    assert bad[0][1].message.startswith("picture 1: ")
    assert bad[0][1].param == "picture 1"
    assert isinstance(neighbour[1], Finished)
    assert isinstance(good[1], Finished)


def test_a_structure_binds_an_answer_about_a_picture(projectors):
    from edgellm.chat.messages import Choices

    async def work(engine):
        return await said(engine, f"{MARK} is", [RED], structure=Choices((" red", " blue")))

    assert served(work, projectors["mlp"])[0] in (" red", " blue")


def test_a_picture_that_must_be_whole_needs_a_micro_batch_that_holds_it(tmp_path):
    from edgellm.errors import EdgellmError

    path = tmp_path / "mmproj.gguf"
    path.write_bytes(projector_bytes("gemma3", side=128))  # 256 patches, 64 rows

    async def nothing(engine):
        pass

    with pytest.raises(EdgellmError, match=r"64 tokens.*micro-batch is 32.*--ubatch-size 64"):
        served(nothing, str(path), n_ubatch=32, n_batch=64)


def test_a_projector_for_another_model_is_refused_in_words(tmp_path):
    from edgellm.errors import EdgellmError

    path = tmp_path / "mmproj.gguf"
    path.write_bytes(projector_bytes(width=64))

    async def nothing(engine):
        pass

    with pytest.raises(EdgellmError, match=r"could not load the projector.*n_embd"):
        served(nothing, str(path))
