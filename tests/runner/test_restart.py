"""Conversations outlive the worker: the next one reads them from disk, or computes them again."""

import asyncio

import pytest
from real_model import demo_path, plan
from worker_lives import life

pytestmark = pytest.mark.model

TALK = tuple(300 + i * i % 150 for i in range(500))


async def lives(folder, *prompts, **changes):
    """One worker's life: what it answered, and its last gauge."""
    # One stream: rows that pad a step's number change its last bits, and come as they are faster.
    shape = {"n_parallel": 1, "n_seq_max": 2, "n_outputs_max": 2, "n_ctx": 1024, "n_ctx_seq": 1024}
    keeps = {"prefix_ram_bytes": 1 << 28, "prefix_disk": str(folder), "prefix_disk_bytes": 1 << 28}
    return await life(demo_path(), plan(**shape | keeps | changes), prompts, "prefix_ram_bytes")


def turn(told):
    return (*TALK, *(token.token for token in told), 310)


def test_the_next_worker_goes_on_bit_by_bit_where_the_last_one_was(tmp_path):
    ((told, _),), gauge = asyncio.run(lives(tmp_path, TALK))
    assert gauge.prefix_disk_bytes > 0
    (_, (stayed, _)), _ = asyncio.run(lives(tmp_path / "elsewhere", TALK, turn(told)))
    ((again, end),), gauge = asyncio.run(lives(tmp_path, turn(told)))
    assert end.n_cached == 511
    assert gauge.n_loaded == 511
    assert again == stayed


def test_another_kv_type_finds_nothing(tmp_path):
    asyncio.run(lives(tmp_path, TALK))
    ((_, end),), _ = asyncio.run(lives(tmp_path, TALK, kv_type_k="q8_0"))
    assert end.n_cached == 0


def test_a_broken_file_is_computed_again(tmp_path):
    ((told, _),), _ = asyncio.run(lives(tmp_path, TALK))
    for path in tmp_path.glob("*/*.kv"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    ((again, end),), _ = asyncio.run(lives(tmp_path, TALK))
    assert end.n_cached == 0
    assert again == told


def test_a_folder_that_cannot_be_used_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way")
    ((told, _),), gauge = asyncio.run(lives(tmp_path / "file", TALK))
    assert len(told) == 12
    assert gauge.prefix_disk_bytes == 0
