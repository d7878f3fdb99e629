import random
from itertools import islice

from edgellm.chat.messages import Claim, GenerateParams
from edgellm.runner.pacing.fairness import Queue, by_turns
from edgellm.runner.sequence import Sequence


def asked(request_id, arrived_s=0.0, n_prompt=10, **claim):
    params = GenerateParams(claim=Claim(**claim))
    return Sequence(request_id, [5] * n_prompt, n_prompt + 10, params, arrived_s)


def order(queue):
    return [sequence.request_id for sequence in queue]


def filled(*sequences, n_passes=2):
    queue = Queue(n_passes)
    for sequence in sequences:
        queue.add(sequence)
    return queue


def serve(queue, n, n_output=10):
    """One after the other to its end: the keys, in the order in which they were served."""
    served = []
    for _ in range(n):
        queue.begin()
        sequence = next(iter(queue))
        queue.admit(sequence)
        served.append(sequence.params.claim.key)
        sequence.tokens += [9] * n_output
        queue.leave(sequence)
    return served


def test_the_first_to_come_is_the_first_in():
    assert order(filled(asked(1, 0.0), asked(2, 1.0), asked(3, 1.0))) == [1, 2, 3]


def test_a_lower_priority_number_goes_first_as_in_vllm():
    assert order(filled(asked(1), asked(2, priority=5), asked(3, priority=-1))) == [3, 1, 2]


def test_a_request_of_low_priority_waits_for_later_ones_only_so_long():
    old = asked(1, 0.0, priority=2)
    assert order(filled(old, asked(2, 19.0))) == [2, 1]
    assert order(filled(old, asked(2, 21.0))) == [1, 2]


def test_a_key_with_many_requests_takes_turns_with_a_key_with_few():
    queue = filled(*(asked(i, key="many") for i in range(9)), *(asked(i, key="few") for i in (9,)))
    assert serve(queue, 2) == ["many", "few"]


def test_a_priority_orders_a_keys_own_requests_only():
    hasty = (asked(i, key="hasty", priority=-100) for i in range(4))
    queue = filled(*hasty, *(asked(i, key="calm") for i in (4, 5, 6, 7)))
    assert sorted(serve(queue, 4)) == ["calm", "calm", "hasty", "hasty"]


def test_keys_are_served_by_their_weights():
    big = (asked(i, key="big", weight=3.0) for i in range(90))
    queue = filled(*big, *(asked(i, key="small") for i in range(90, 180)))
    served = serve(queue, 80)
    assert 58 <= served.count("big") <= 62


def test_long_answers_count_for_their_key_while_they_run():
    queue = Queue(2)
    long = asked(1, key="talker")
    queue.add(long)
    queue.add(asked(3, 1.0, key="other", n_prompt=400))
    queue.admit(long)
    long.tokens += [9] * 500
    queue.add(asked(2, key="talker"))
    assert order(queue) == [3, 2]


def test_a_key_that_was_silent_has_saved_nothing_up():
    queue = filled(*(asked(i, key="busy") for i in range(50)))
    serve(queue, 40)
    for i in range(50, 60):
        queue.add(asked(i, key="late"))
    served = serve(queue, 10)
    assert 4 <= served.count("late") <= 6


def test_a_key_that_was_alone_for_long_owes_nothing_for_it():
    queue = filled(*(asked(i, key="alone") for i in range(50)))
    serve(queue, 50)
    for i in range(50, 60):
        queue.add(asked(i, key="new"))
        queue.add(asked(i + 10, key="alone"))
    assert 4 <= serve(queue, 10).count("alone") <= 6


def test_what_was_found_in_memory_is_not_charged():
    queue = filled(asked(1, key="a", n_prompt=100), asked(2, key="b", n_prompt=50))
    queue.add(asked(3, 1.0, key="b"))
    queue.add(asked(4, 2.0, key="a"))
    for key, n_cached in (("a", 90), ("b", 0)):
        sequence = next(one for one in queue if one.params.claim.key == key)
        sequence.n_cached = n_cached
        queue.admit(sequence)
        queue.leave(sequence)
    assert order(queue) == [4, 3]


def test_one_that_does_not_fit_may_be_passed_so_often_and_no_more():
    big, n_passed = asked(0, n_prompt=1000), 0
    queue = filled(big, *(asked(i) for i in range(1, 9)), n_passes=3)
    while True:
        queue.begin()
        head, second = list(queue)[:2]
        assert head is big
        queue.refuse(big)
        if queue.closed:
            break
        queue.admit(second)
        n_passed += 1
    assert n_passed == 3


def test_only_a_few_are_tried_behind_one_that_does_not_fit():
    queue = filled(*(asked(i) for i in range(100)), n_passes=50)
    queue.begin()
    n_tried = 0
    for sequence in queue:
        if queue.closed:
            break
        queue.refuse(sequence)
        n_tried += 1
    assert n_tried == 5


def test_overdue_is_whoever_has_a_deadline_behind_it_waiting_or_running():
    waiting, running, patient = asked(1, deadline_s=5.0), asked(2, deadline_s=6.0), asked(3)
    queue = filled(waiting, running, patient)
    queue.admit(running)
    assert queue.overdue(4.9) == []
    assert queue.overdue(5.0) == [waiting]
    assert set(queue.overdue(7.0)) == {waiting, running}


def test_one_that_waits_or_runs_is_found_by_its_number_until_it_ends():
    one, other = asked(1), asked(2, key="b")
    queue = filled(one, other)
    queue.admit(other)
    assert (queue.find(1), queue.find(2), queue.find(3)) == (one, other, None)
    assert list(queue.unordered) == [one]
    queue.leave(one)
    queue.leave(other)
    assert (queue.find(1), queue.find(2)) == (None, None)


def test_a_deadline_that_comes_before_all_others_is_kept_too():
    late, soon = asked(1, deadline_s=9.0), asked(2, deadline_s=5.0)
    queue = filled(late)
    assert queue.overdue(4.0) == []
    queue.add(soon)
    assert queue.overdue(5.0) == [soon]
    queue.leave(soon)
    assert queue.overdue(6.0) == []
    assert queue.overdue(9.0) == [late]


class Looked(Sequence):
    """Counts how often anybody asks when one of them came."""

    n_looks = 0

    @property
    def arrived_s(self):
        Looked.n_looks += 1
        return self._came_s

    @arrived_s.setter
    def arrived_s(self, came_s):
        self._came_s = came_s


def test_many_who_wait_with_many_keys_are_put_in_order_with_few_looks():
    queue = Queue(2)
    for i in range(500):
        params = GenerateParams(claim=Claim(key=str(i % 100)))
        queue.add(Looked(i, [5] * 10, 20, params, float(i)))
    for n_taken, most_looks in ((500, 500), (64, 164)):
        Looked.n_looks = 0
        assert len(list(islice(queue, n_taken))) == n_taken
        assert Looked.n_looks <= most_looks


def by_hand(queue):
    """The order that the rule gives, said in the plainest way."""
    lines = {key: [*line] for key, line in queue._lines.items()}
    spent = queue._spent()
    while lines:
        key = min(lines, key=lambda key: (spent[key], lines[key][0].arrived_s))
        one = lines[key].pop(0)
        yield one.request_id
        spent[key] += one.n_prompt / one.params.claim.weight
        if not lines[key]:
            del lines[key]


def test_the_order_is_the_rules_also_among_those_that_are_alike():
    rng = random.Random(3)
    for _ in range(50):
        queue = Queue(2)
        for i in range(rng.randint(1, 40)):
            key, weight = rng.choice("abcdef"), rng.choice((1.0, 2.0))
            came_s, n_prompt = float(rng.randint(0, 3)), rng.choice((10, 20))
            queue.add(asked(i, came_s, n_prompt, key=key, weight=weight))
            if rng.random() < 0.2:
                queue.admit(next(iter(queue)))
        assert order(queue) == [*by_hand(queue)]


def test_nobody_is_lost_or_doubled_whatever_happens_and_nobody_starves():
    rng = random.Random(7)
    queue, waiting, running, waited = Queue(3), set(), set(), {}
    for i in range(3000):
        if rng.random() < 0.5:
            claim = {"key": rng.choice("ab"), "weight": 2.0, "priority": rng.randint(-3, 3)}
            one = asked(i, float(i), n_prompt=rng.randint(1, 50), **claim)
            queue.add(one)
            waiting.add(one)
            waited[one] = 0
        queue.begin()
        if waiting and rng.random() < 0.6:
            first = next(iter(queue))
            queue.admit(first)
            waiting.remove(first)
            running.add(first)
        if rng.random() < 0.1 and waiting:
            gone = rng.choice(sorted(waiting, key=lambda one: one.request_id))
            queue.leave(gone)
            waiting.remove(gone)
        for done in [one for one in running if rng.random() < 0.3]:
            queue.leave(done)
            running.remove(done)
        for one in waiting:
            waited[one] += 1
        assert set(queue) == waiting
        assert len(queue) == len(waiting)
    assert max(waited.values()) < 150  # six levels are sixty rounds here; half of all are served


def test_every_other_step_belongs_to_whoever_is_done_soonest():
    long, short = asked(1, n_prompt=500), asked(2, n_prompt=20)
    assert by_turns([long, short], 0) == [long, short]
    assert by_turns([long, short], 1) == [short, long]
