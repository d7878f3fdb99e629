"""Pictures through the real llama.cpp: the answer is what mtmd's own helper gives, whoever else is
there, and a picture that came before costs nothing again."""

import asyncio

import pytest
from mtmd_runs import MARK, Reference, all_say, said, served, told_of
from pictures import png, png_of
from projector_files import projector_bytes, with_mrope
from real_model import SHARED_MODELS, demo_path, needs_shared_models

from edgellm.chat.events import Failed, Finished
from edgellm.models import local

pytestmark = pytest.mark.model

RED, BLUE = png(colour=(255, 0, 0)), png(colour=(0, 0, 255))
PROMPTS = [
    (f"Once {MARK} upon a time", [RED]),
    (f"Once {MARK} upon a time", [BLUE]),
    (f"{MARK}{MARK} Tim had a", [RED, BLUE]),
    (f"One day {MARK}, {MARK} and {MARK}. Lily", [BLUE, RED, BLUE]),
]
KINDS = ("mlp", "gemma3")


@pytest.fixture(scope="module")
def projectors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("projectors")
    for kind in KINDS:
        (folder / kind).write_bytes(projector_bytes(kind))
    return {kind: str(folder / kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unified", [True, False], ids=["unified", "split"])
def test_alone_and_in_a_crowd_the_answer_is_that_of_mtmds_own_helper(projectors, kind, unified):
    reference = Reference(demo_path(), projectors[kind])
    wanted = [reference.answer(*asked) for asked in PROMPTS]
    tokens = [tokens for tokens, _ in wanted]
    assert tokens[0] != tokens[1]  # the pictures make a difference

    async def work(engine):
        alone = [await told_of(engine, *asked, cache_prompt=False) for asked in PROMPTS]
        text = said(engine, "Once upon a time", n=200, cache_prompt=False)
        crowd = await asyncio.gather(text, *(told_of(engine, *asked) for asked in PROMPTS * 3))
        return alone, crowd[1:]

    alone, crowd = served(work, projectors[kind], kv_unified=unified)
    assert [end.n_prompt for _, end in alone] == [n for _, n in wanted]
    assert all_say(alone, tokens)
    assert all_say(crowd, tokens * 3)


@pytest.fixture(scope="module")
def mrope(tmp_path_factory):
    """A model and a projector as Qwen2-VL's: a picture takes fewer positions than it has rows."""
    folder = tmp_path_factory.mktemp("mrope")
    (folder / "model.gguf").write_bytes(with_mrope(demo_path().read_bytes()))
    (folder / "mmproj").write_bytes(projector_bytes("qwen2vl_merger"))
    return folder / "model.gguf", str(folder / "mmproj")


@pytest.mark.parametrize(
    "choices",
    [{}, {"kv_unified": False}, {"n_ubatch": 16}, {"kv_unified": False, "batch_invariant": True}],
    ids=["unified", "split", "in small pieces", "batch-invariant"],
)
def test_pictures_in_two_dimensions_are_placed_as_mtmds_own_helper_places_them(mrope, choices):
    model, projector = mrope
    reference = Reference(model, projector)
    wide, tall = png(96, 48), png(64, 128, (0, 0, 255))
    asked = [
        (f"{'word ' * 30}{MARK} upon a time", [wide]),
        (f"{'word ' * 30}{MARK} upon a time", [tall]),
        (f"One day {MARK}, {MARK} and {MARK}. Lily", [tall, wide, tall]),
    ]
    wanted = [reference.answer(*each)[0] for each in asked]
    again = [(f"{prompt}, and on and on, he said. And then", files) for prompt, files in asked]

    async def work(engine):
        alone = [await told_of(engine, *each, cache_prompt=False) for each in asked]
        story = said(engine, "Once upon a time", n=200)
        crowd = await asyncio.gather(story, *(told_of(engine, *each) for each in asked * 3))
        return alone, crowd[1:], [await told_of(engine, *each) for each in again]

    alone, crowd, second = served(work, projector, model, **choices)
    assert all_say(alone, wanted)
    assert all_say(crowd, wanted * 3)
    assert all_say(second, [reference.answer(*each)[0] for each in again])
    n_positions = reference.answer(*asked[0], 0)[1]
    assert alone[0][1].n_prompt > n_positions
    if "batch_invariant" not in choices:  # those share whole chunks of 128 only
        pairs = zip(second, alone, strict=True)
        assert all(later.n_cached >= first.n_prompt - 2 for (_, later), (_, first) in pairs)


@needs_shared_models
@pytest.mark.parametrize("size", ["", "pad-"], ids=["64 wide", "256 wide"])
def test_the_recorded_pair_answers_as_mtmds_own_helper(size):
    model = SHARED_MODELS / f"stories260K-{size or 'chat-'}f16.gguf"
    projector = str(SHARED_MODELS / f"stories260K-{size}mmproj-random-f16.gguf")
    reference = Reference(model, projector)

    wanted = [reference.answer(*asked) for asked in PROMPTS]

    async def work(engine):
        return [await told_of(engine, *asked) for asked in PROMPTS]

    answers = served(work, projector, model)
    assert all_say(answers, [tokens for tokens, _ in wanted])
    assert [end.n_prompt for _, end in answers] == [n for _, n in wanted]


@needs_shared_models
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["gemma3", "lfm2", "mamba", "qwen3"])
def test_sliding_hybrid_and_recurrent_models_see_alike(tmp_path, name, kind):
    """Their weights are random, and what they say is no text."""
    model, path = SHARED_MODELS / f"tiny-{name}-q8_0.gguf", tmp_path / "mmproj"
    path.write_bytes(projector_bytes(kind, local.read_spec(model).n_embd))
    reference = Reference(model, str(path))

    async def work(engine):
        alone = [await told_of(engine, *asked, cache_prompt=False) for asked in PROMPTS]
        text = said(engine, "Once upon a time", n=100)
        crowd = await asyncio.gather(text, *(told_of(engine, *asked) for asked in PROMPTS))
        again = await asyncio.gather(*(told_of(engine, *asked) for asked in PROMPTS))
        return alone, crowd[1:], again

    alone, crowd, again = served(work, str(path), model)
    wanted = [reference.answer(*asked)[0] for asked in PROMPTS]
    assert all_say(alone, wanted)
    assert all_say(crowd, wanted)
    assert all_say(again, wanted)
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
