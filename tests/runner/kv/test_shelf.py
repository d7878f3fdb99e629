import random

from edgellm.runner.batch import Discard
from edgellm.runner.kv.edge import BlobSize
from edgellm.runner.kv.shelf import Shelf

SIZE = BlobSize(base_bytes=10, cell_bytes=1)


def shelf(room_bytes=1000):
    return Shelf(room_bytes, SIZE, [])


def put(shelf, tokens, *ends):
    return [shelf.put(tokens, end) for end in ends]


def test_a_path_is_found_as_far_as_it_agrees():
    a = shelf()
    first, second = put(a, list(range(40)), 10, 40)
    found = a.find([*range(30), 99, 98], 32)
    assert (found.edges, found.length) == ((first, second), 30)
    assert a.find([5, 6], 2).length == 0


def test_the_limit_bounds_what_is_found():
    a = shelf()
    put(a, list(range(40)), 40)
    assert a.find(list(range(40)), 27).length == 27


def test_what_begins_alike_lies_side_by_side_and_the_longer_way_is_found():
    a = shelf()
    head = list(range(20))
    put(a, [*head, 4, 5, 6], 23)
    put(a, [*head, 9, *head, 8, 8], 21, 43)
    assert a.find([*head, 9, *head, 8, 7], 43).length == 42
    assert a.find([*head, 4, 5, 5, 5], 24).length == 22


def test_among_many_one_that_a_prompt_leaves_after_a_few_tokens_is_not_found():
    a = shelf()
    put(a, list(range(40)), 10, 40)
    assert a.find([*range(25), 99], 26).length == 25
    assert a.find(list(range(40)), 15).length == 15
    for i in range(4):
        put(a, [*range(10), *[100 + i] * 30], 40)
    assert a.find([*range(25), 99], 26).length == 10
    assert a.find([*range(26), 99], 27).length == 26


def test_among_thousands_that_follow_one_only_those_that_begin_alike_are_looked_at():
    a, head, rng = Shelf(1 << 20, SIZE, []), list(range(20)), random.Random(1)
    put(a, head, 20)
    for _ in range(1000):
        put(a, [*head, *rng.choices(range(100), k=30)], 50)
    put(a, [*head, *[7] * 12], 32)
    put(a, [*head, *[7] * 30], 50)
    (first,) = a.find(head, 20).edges
    assert [child.end for child in first.children_along([*head, *[7] * 30], 50)] == [32]
    assert len(list(first.children)) == 1001
    assert a.find([*head, *[7] * 29, 8], 50).length == 49
    assert a.covered([*head, *[7] * 30]) == 50
    a.check()


def test_a_stretch_that_is_there_is_not_asked_for_again():
    a = shelf()
    tokens = list(range(20))
    put(a, tokens, 10)
    assert a.covered(tokens) == 10
    (edge,) = put(a, tokens, 20)
    assert (edge.start, edge.tokens) == (10, tokens[10:])


def test_where_there_is_no_room_the_leaf_that_was_unused_longest_goes():
    a = shelf(room_bytes=60)
    put(a, [1] * 10, 10)
    put(a, [2] * 10, 10)
    put(a, [3] * 10, 10)
    a.touch(a.find([1] * 10, 10).edges[0])
    put(a, [4] * 10, 10)
    a.check()
    lengths = [a.find([first] * 10, 10).length for first in (1, 2, 3, 4)]
    assert lengths == [10, 0, 10, 10]


def test_nothing_that_others_stand_on_goes_before_them():
    a = shelf(room_bytes=50)
    put(a, list(range(20)), 10, 20)
    put(a, [77] * 12, 12)
    a.check()
    assert a.find(list(range(20)), 20).length == 10


def test_where_there_are_too_many_edges_none_goes_that_others_stand_on_though_disk_has_it():
    a = Shelf(1000, SIZE, [], 1000, most_edges=3)
    first, second = put(a, list(range(20)), 10, 20)
    a.store(first)
    put(a, [77] * 12, 12)
    a.touch(second)
    put(a, [88] * 12, 12)
    a.check()
    assert len(a) == 3
    assert a.find(list(range(20)), 20).length == 20


def test_what_somebody_waits_for_stays_and_the_newcomer_is_refused():
    a = shelf(room_bytes=30)
    (edge,) = put(a, [1] * 15, 15)
    edge.n_pins = 1
    assert put(a, [2] * 15, 15) == [None]
    assert a.find([1] * 15, 15).edges == (edge,)


def test_what_was_computed_with_an_adapter_is_for_those_who_use_it():
    a = shelf()
    put(a, [1] * 10, 10)
    a.put([1] * 10, 10, ((3, 0.5),))
    assert a.find([1] * 10, 10).edges != a.find([1] * 10, 10, ((3, 0.5),)).edges
    assert a.find([1] * 10, 10, ((3, 1.0),)).length == 0
    a.check()


def test_what_is_larger_than_all_the_room_empties_nothing():
    a = shelf(room_bytes=30)
    put(a, [1] * 15, 15)
    assert put(a, [2] * 40, 40) == [None]
    assert len(a) == 1


def test_over_random_histories_the_room_is_kept_and_every_edge_has_its_way():
    for seed in range(40):
        rng = random.Random(seed)
        ops = []
        a = Shelf(rng.choice((100, 400, 2000)), SIZE, ops)
        texts = [[rng.randint(0, 3) for _ in range(60)] for _ in range(6)]
        put_blobs, known = set(), {}
        for _ in range(150):
            text = [*texts[rng.randrange(6)][: rng.randint(1, 60)], rng.randint(0, 3)]
            while (start := a.covered(text)) < len(text):
                edge = a.put(text, min(len(text), start + rng.randint(1, 20)))
                if edge is None:
                    break
                put_blobs.add(edge.blob)
                known[edge.blob] = text[: edge.end]
            found = a.find(text, len(text))
            for edge in found.edges[:-1]:
                assert known[edge.blob] == text[: edge.end]
            if found.edges:
                assert known[found.edges[-1].blob][: found.length] == text[: found.length]
            a.check()
        discarded = [op.blob for op in ops]
        assert all(isinstance(op, Discard) for op in ops)
        assert len(discarded) == len(set(discarded))
        assert len(put_blobs - set(discarded)) == len(a)


def test_what_other_adapters_computed_is_another_tree():
    a, half = shelf(), ((0, 0.5),)
    a.put([1] * 10, 10, half)
    assert a.find([1] * 10, 10).length == 0
    assert a.find([1] * 10, 10, ((0, 1.0),)).length == 0
    assert a.find([1] * 10, 10, half).length == 10
    a.check()


def test_sets_that_are_only_asked_for_leave_nothing_behind():
    a = shelf()
    a.put([1] * 10, 10, ((0, 0.5),))
    for n in range(1000):
        a.find([1] * 10, 10, ((0, n + 1.0),))
    assert len(a._roots) <= 2
    assert a.find([1] * 10, 10, ((0, 0.5),)).length == 10
