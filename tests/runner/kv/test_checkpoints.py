import random

from edgellm.runner.batch import Checkpoint, Discard
from edgellm.runner.kv.checkpoints import Checkpoints
from edgellm.runner.kv.memory import PartialState


def checkpoints(budget_bytes, **changes):
    facts = {"n_window": 0, "cell_bytes": 0, "row_bytes": 10}
    ops = []
    return Checkpoints(PartialState(**(facts | changes), budget_bytes=budget_bytes), ops), ops


def lengths(points, seq_id):
    found, limit = [], None
    while point := points.last(seq_id, limit):
        found.insert(0, point.length)
        limit = point.length - 1
    return found


def test_a_window_takes_what_it_holds_and_a_row_what_it_always_takes():
    state = PartialState(n_window=64, cell_bytes=100, row_bytes=7, budget_bytes=0)
    assert state.checkpoint_bytes(10) == 1007
    assert state.checkpoint_bytes(64) == state.checkpoint_bytes(5000) == 6407


def test_what_saves_the_fewest_tokens_goes_first():
    points, ops = checkpoints(30)
    for length in (500, 520, 1000):
        assert not points.take(0, length)
    assert points.take(0, 1500)
    assert lengths(points, 0) == [500, 1000, 1500]
    assert ops[-2:] == [Discard(1), Checkpoint(0, 3)]


def test_what_nobody_has_asked_for_goes_before_what_somebody_has():
    points, _ = checkpoints(30)
    points.take(0, 100)
    points.take(1, 100)
    for target in range(2, 8):
        points.inherit(target, 0, 100)
    points.take(8, 100)
    points.take(9, 100)
    assert lengths(points, 0) == [100]
    assert lengths(points, 1) == []


def test_a_blob_goes_with_the_last_who_shares_it():
    points, ops = checkpoints(100)
    points.take(0, 50)
    points.take(0, 90)
    point = points.inherit(1, 0, 60)
    assert (point.length, lengths(points, 1)) == (50, [50])
    points.drop(0)
    assert ops[2:] == [Discard(1)]
    points.drop(1)
    assert ops[3:] == [Discard(0)]
    assert points.used_bytes == 0


def test_points_beyond_where_a_sequence_goes_on_are_given_up():
    points, _ = checkpoints(100)
    for length in (50, 90, 120):
        points.take(0, length)
    assert points.cut(0, 100).length == 90
    assert lengths(points, 0) == [50, 90]


def test_one_that_is_larger_than_the_budget_evicts_nobody():
    points, ops = checkpoints(60, n_window=64, cell_bytes=1, row_bytes=0)
    points.take(0, 30)
    assert not points.take(1, 64)
    assert lengths(points, 0) == [30]
    assert ops == [Checkpoint(0, 0)]


def test_copying_stays_small_beside_computing():
    assert checkpoints(0, row_bytes=1 << 20)[0].every == 512
    assert checkpoints(0, row_bytes=600 << 20)[0].every == 9600


def test_no_history_loses_or_doubles_a_blob():
    for seed in range(50):
        rng = random.Random(seed)
        points, ops = checkpoints(rng.choice((0, 10, 55, 200)))
        n_computed, unused = {0: 0}, iter(range(1, 1000))
        for _ in range(150):
            seq_id = rng.choice(list(n_computed))
            match rng.randrange(5):
                case 0 | 1:
                    n_computed[seq_id] += rng.randint(1, 300)
                    points.take(seq_id, n_computed[seq_id])
                case 2:
                    target = next(unused)
                    n_computed[target] = rng.randint(0, n_computed[seq_id])
                    points.inherit(target, seq_id, n_computed[target])
                case 3:
                    n_computed[seq_id] = rng.randint(0, n_computed[seq_id])
                    points.cut(seq_id, n_computed[seq_id])
                case 4:
                    points.drop(seq_id)
                    n_computed[seq_id] = 0
            points.check(n_computed)
        taken = [op.blob for op in ops if isinstance(op, Checkpoint)]
        gone = [op.blob for op in ops if isinstance(op, Discard)]
        assert len(set(gone)) == len(gone)
        assert set(gone) <= set(taken)
        assert len(taken) - len(gone) == points.used_bytes // 10
