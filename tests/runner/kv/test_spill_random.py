"""Random histories of conversations that leave the cells, for memory and disk, and come back."""

import random

from runner_fakes import answer
from spill_runs import House, limits, text

from edgellm.runner.pacing.pace import Pace


def test_no_history_loses_a_cell_a_blob_or_a_right_answer():
    for seed in range(60):
        _random_history(random.Random(seed))


def _random_history(rng):
    house = House(
        limits(
            n_cells=rng.choice((512, 1024)), n_ctx_seq=400, n_retained=rng.choice((1, 4, 12)),
            shelf_bytes=rng.choice((0, 300, 1000, 10_000)),
            disk_bytes=rng.choice((0, 500, 3000)),
        ),
        Pace(rng.choice((None, 0.1))),
    )  # fmt: skip
    wanted, prompts = {}, [[5], [6, 7], text(8, 200)]
    for _ in range(25):
        if rng.random() < 0.7:
            base = rng.choice(prompts)[: rng.randint(1, 300)]
            prompt = base + [rng.randint(3, 49) for _ in range(rng.randint(0, 60))]
            n_output = rng.randint(1, 30)
            sequence = house.ask(prompt, n_output, cache_prompt=rng.random() < 0.9)
            wanted[sequence.request_id] = answer(prompt, n_output)
            prompts.append(prompt + wanted[sequence.request_id])
        if rng.random() < 0.1 and wanted:
            victim = rng.choice(list(wanted))
            if house.scheduler.cancel(victim):
                del wanted[victim]
        if rng.random() < 0.3:
            house.read(ok=rng.random() < 0.8)
        for _ in range(rng.choice((0, 1, 4, 40))):
            house.step()
            house.scheduler.memory.observe(rng.choice((0.0001, 0.01)))
            assert house.scheduler.memory.n_kv == house.backend.n_kv or _has_left(house)
    house.run()
    assert {i: house.answers[i] for i in wanted} == wanted
    if spill := house.scheduler.memory._spill:
        assert not [edge for edge in spill.shelf._edges.values() if edge.broken]
    house.scheduler.memory.forget_retained()


def _has_left(house):
    """Somebody ended in this step: the backend hears of it with the next batch."""
    return bool(house.scheduler._ops)
