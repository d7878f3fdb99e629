import random

import pytest

from edgellm.runner.kv.cells import Cells, Lease


def test_a_fork_takes_no_cell_and_what_follows_is_its_own():
    cells, a = Cells(100), Lease()
    cells.append(a, 10)
    b = cells.fork(a, 6)
    assert cells.used == 10
    cells.append(b, 3)
    assert (cells.used, b.length) == (13, 9)


def test_a_shared_cell_is_free_when_its_last_owner_goes():
    cells, a = Cells(100), Lease()
    cells.append(a, 10)
    b = cells.fork(a, 6)
    assert cells.release(a) == 4
    assert cells.release(b) == 6
    assert cells.used == 0


def test_shared_cells_are_held_once():
    cells, a = Cells(100), Lease()
    cells.append(a, 10)
    b = cells.fork(a, 6)
    cells.append(b, 5)
    assert (cells.held_by([a]), cells.held_by([b]), cells.held_by([a, b])) == (10, 11, 15)


def test_who_fills_the_holes_that_others_left_is_in_many_tiles():
    cells, holes, rest = Cells(64 * 40), [], []
    for _ in range(20):
        for kept, n in ((rest, 56), (holes, 8)):
            kept.append(Lease())
            cells.append(kept[-1], n)
    for lease in holes:
        cells.release(lease)
    a = Lease()
    cells.append(a, 80)
    b = cells.fork(a, 30)
    assert cells.in_tiles([a]) == 10 * 64, "eight of its cells in each"
    assert cells.in_tiles([b]) == 4 * 64
    cells.append(b, 81)
    assert cells.in_tiles([b]) == (4 + 10 + 1) * 64, "what it shares, the other holes, the end"
    assert cells.in_tiles([a, b]) == 21 * 64
    assert cells.in_tiles([]) == 0


def test_a_fork_of_more_than_there_is_is_refused():
    cells, a = Cells(100), Lease()
    cells.append(a, 3)
    with pytest.raises(ValueError, match="can't fork 4 of 3"):
        cells.fork(a, 4)


def test_the_count_agrees_with_sets_of_cells_over_random_histories():
    for seed in range(50):
        rng = random.Random(seed)
        cells, held = Cells(10_000), {}
        for _ in range(200):
            _random_step(rng, cells, held)
            assert cells.used == len({cell for _, owned in held.values() for cell in owned})
            assert all(lease.length == len(owned) for lease, owned in held.values())


def test_a_step_looks_at_all_up_to_the_last_cell_that_it_will_take():
    for seed in range(30):
        rng = random.Random(seed)
        cells, held = Cells(rng.choice((700, 5000))), {}
        for _ in range(60):
            if rng.random() < 0.6 and cells.used + 150 <= cells.n_cells:
                again = held[rng.choice(list(held))] if held and rng.random() < 0.5 else Lease()
                cells.append(again, rng.randint(1, 150))
                held[again.tail] = again
            elif held:
                cells.release(held.pop(rng.choice(list(held))))
            only = rng.sample(list(held.values()), rng.randint(0, len(held)))
            for leases, asked in ((list(held.values()), {}), (only, {"only": only})):
                taken = {place for each in leases for place in each.tail.places}
                free = [place for place in range(cells.n_cells) if place not in taken]
                count = rng.randint(0, len(free))
                highest = max([*taken, *free[:count]], default=0)
                want = min(cells.n_cells, (highest // 256 + 1) * 256)
                assert cells.n_kv(count, **asked) == want


def _random_step(rng, cells, held):
    choice = rng.random()
    if choice < 0.4 and held:
        lease, owned = held[rng.choice(list(held))]
        count = rng.randint(1, 9)
        cells.append(lease, count)
        owned += [object() for _ in range(count)]
    elif choice < 0.6 and held:
        lease, owned = held[rng.choice(list(held))]
        length = rng.randint(1, len(owned))
        held[object()] = (cells.fork(lease, length), owned[:length])
    elif choice < 0.75 and held:
        name = rng.choice(list(held))
        lease, owned = held.pop(name)
        others = {cell for _, theirs in held.values() for cell in theirs}
        leases = [theirs for theirs, _ in held.values()]
        assert cells.held_by(leases) == len(others)
        assert cells.release(lease) == len(set(owned) - others)
    else:
        lease = Lease()
        cells.append(lease, 5)
        held[object()] = (lease, [object() for _ in range(5)])
