import random

from edgellm.runner.kv.cells import Lease
from edgellm.runner.kv.prefix import Retained, best_match, common_prefix


def test_the_common_prefix_is_what_a_loop_would_find():
    rng = random.Random(1)
    for _ in range(2_000):
        a = [rng.randint(0, 1) for _ in range(rng.randint(0, 300))]
        b = a[: rng.randint(0, len(a))] + [rng.randint(0, 1) for _ in range(rng.randint(0, 40))]
        limit = rng.randint(0, 320)
        pairs = zip(a[:limit], b[:limit], strict=False)
        want = next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b), limit))
        assert common_prefix(a, b, limit) == want


def test_the_last_token_of_a_prompt_is_never_taken_from_the_cache():
    kept = Retained(5, [1, 2, 3], Lease(), 3)
    match = best_match([1, 2, 3], [kept])
    assert match
    assert match.length == 2


def test_the_longest_computed_prefix_wins():
    near, far = Retained(5, [1, 2], Lease(), 2), Retained(6, [1, 2, 3, 4], Lease(), 4)
    match = best_match([1, 2, 3, 9], [near, far])
    assert match
    assert (match.source, match.length) == (far, 3)


def test_of_chunks_only_those_of_a_prompt_are_shared_and_only_whole_ones():
    kept = Retained(5, list(range(100)), Lease(), 70)  # 70 of a prompt, 30 of its answer
    match = best_match([*range(95), 200], [kept], n_chunk=16)
    assert match
    assert match.length == 64
    assert best_match([*range(15), 200], [kept], n_chunk=16) is None


def test_nothing_in_common_is_no_match():
    assert best_match([7, 8], [Retained(5, [1, 2], Lease(), 2)]) is None
