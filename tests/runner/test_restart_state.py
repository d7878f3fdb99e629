"""Conversations of models with a window or a recurrent state, and those of streams of their own,
outlive the worker too."""

import asyncio
import shutil

import pytest
from real_model import SHARED_MODELS, needs_shared_models, plan
from worker_lives import life

pytestmark = [pytest.mark.model, needs_shared_models]

SLIDING = ["tiny-gemma3-q8_0.gguf", "tiny-gpt-oss-mxfp4_moe.gguf"]
HYBRID = ["tiny-lfm2-q8_0.gguf"]
RECURRENT = ["tiny-mamba-q8_0.gguf", "tinyrwkv52-730k-f16.gguf"]

TALK = tuple(30 + i * i % 150 for i in range(500))

each_file = pytest.mark.parametrize("file", SLIDING + HYBRID + RECURRENT)
both_layouts = pytest.mark.parametrize("unified", [True, False], ids=["unified", "split"])


async def lives(file, folder, *prompts, kept=None, **changes):
    """One worker's life: what it answered, and its last gauge."""
    path = SHARED_MODELS / file
    if not path.exists():
        pytest.skip(f"{file} is not there")
    keeps = {"prefix_disk": str(folder), "prefix_disk_bytes": 1 << 28}
    shape = {"n_parallel": 2, "n_seq_max": 2, "n_outputs_max": 2, "n_ctx": 2048, "n_ctx_seq": 1024}
    return await life(path, plan(**shape | keeps | changes), prompts, kept)


@pytest.fixture(scope="module")
def first_life(tmp_path_factory):
    """What the first worker, which was asked TALK, has left, is laid into a folder: it lives once
    for all tests. What it answered, and its last gauge."""
    left = {}

    def lived(folder, file, **changes):
        which = file, *changes.items()
        if which not in left:
            own = tmp_path_factory.mktemp("first")
            left[which] = (
                own,
                asyncio.run(lives(file, own, TALK, kept="prefix_disk_bytes", **changes)),
            )
        own, (((told, _),), gauge) = left[which]
        shutil.copytree(own, folder, dirs_exist_ok=True)
        return told, gauge

    return lived


def turn(told):
    return (*TALK, *(token.token for token in told), 31, 32, 33)


@both_layouts
@each_file
def test_the_next_worker_goes_on_bit_by_bit_where_the_last_one_was(
    file, unified, tmp_path, first_life
):
    told, gauge = first_life(tmp_path, file, kv_unified=unified)
    files_bytes = [path.stat().st_size for path in tmp_path.glob("*/*.kv")]
    head_bytes = sum(files_bytes) - gauge.prefix_disk_bytes
    assert 0 < head_bytes < 300 * len(files_bytes)
    stays = lives(file, tmp_path / "elsewhere", TALK, turn(told), kv_unified=unified)
    (_, (stayed, end)), _ = asyncio.run(stays)
    assert end.n_cached == 511
    again = lives(file, tmp_path, turn(told), kept="prefix_disk_bytes", kv_unified=unified)
    ((again, end),), gauge = asyncio.run(again)
    assert end.n_cached == gauge.n_loaded == 511
    assert again == stayed


@each_file
def test_what_it_says_is_what_it_says_when_all_is_computed_anew(file, tmp_path, first_life):
    told, _ = first_life(tmp_path, file, kv_unified=True)
    ((again, end),), _ = asyncio.run(lives(file, tmp_path, turn(told)))
    ((anew, none),), _ = asyncio.run(lives(file, tmp_path / "elsewhere", turn(told)))
    assert (end.n_cached, none.n_cached) == (511, 0)
    assert [token.token for token in again] == [token.token for token in anew]


@both_layouts
@each_file
def test_an_answer_that_comes_back_changed_is_gone_on_from_what_was_asked(
    file, unified, tmp_path, first_life
):
    changed = (*TALK, 40, 41, 42)
    first_life(tmp_path, file, kv_unified=unified)
    ((again, end),), _ = asyncio.run(lives(file, tmp_path, changed, kv_unified=unified))
    stays = lives(file, tmp_path / "elsewhere", TALK, changed, kv_unified=unified)
    (_, (stayed, _)), _ = asyncio.run(stays)
    assert end.n_cached == len(TALK) - 1
    assert again == stayed


@pytest.mark.parametrize("file", [SLIDING[0], HYBRID[0], RECURRENT[0]])
def test_a_broken_file_is_computed_again(file, tmp_path, first_life):
    first_life(tmp_path, file, kv_unified=True)
    paths = list(tmp_path.glob("*/*.kv"))
    for path in paths:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert paths
    ((_, end),), _ = asyncio.run(lives(file, tmp_path, (*TALK, 40, 41)))
    assert end.n_cached == 0


@pytest.mark.parametrize("file", [SLIDING[0], HYBRID[0]])
def test_a_split_kv_of_more_streams_finds_nothing(file, tmp_path, first_life):
    """A file tells of all streams, and llama.cpp takes none that tells of others."""
    told, _ = first_life(tmp_path, file, kv_unified=False)
    more = {"n_parallel": 3, "n_seq_max": 3, "n_outputs_max": 3, "n_ctx": 3072}
    ((_, end),), _ = asyncio.run(lives(file, tmp_path, turn(told), kv_unified=False, **more))
    assert end.n_cached == 0


def test_streams_that_hold_cells_only_go_on_where_they_were_and_from_what_was_asked(
    tmp_path, first_life
):
    file, apart = "tiny-qwen3-q8_0.gguf", {"kv_unified": False}
    told, _ = first_life(tmp_path, file, **apart)
    stays = lives(file, tmp_path / "elsewhere", TALK, turn(told), **apart)
    (_, (stayed, end)), _ = asyncio.run(stays)
    assert end.n_cached == 511
    again = lives(file, tmp_path, turn(told), kept="prefix_disk_bytes", **apart)
    ((again, end),), gauge = asyncio.run(again)
    assert end.n_cached == gauge.n_loaded == 511
    assert again == stayed
    first_life(tmp_path / "once more", file, **apart)
    changed = lives(file, tmp_path / "once more", (*TALK, 40, 41, 42), **apart)
    ((_, end),), _ = asyncio.run(changed)
    assert end.n_cached == len(TALK) - 1


def test_streams_that_have_to_make_place_come_back_from_memory(tmp_path):
    """Two streams, four conversations: what all are told again is what they were told first."""
    talks = [tuple(30 + (i * i + 7 * n) % 150 for i in range(300)) for n in range(4)]
    file, apart = "tiny-qwen3-q8_0.gguf", {"kv_unified": False, "prefix_ram_bytes": 1 << 28}
    answers, _ = asyncio.run(lives(file, tmp_path, *talks, *talks, **apart))
    first, again = answers[:4], answers[4:]
    assert [end.n_cached for _, end in again] == [299] * 4
    assert [[t.token for t in told] for told, _ in again] == [
        [t.token for t in told] for told, _ in first
    ]
