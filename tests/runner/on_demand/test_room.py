import heapq
import itertools
import random

import pytest

from edgellm.runner.on_demand.room import LINGER_S, PATIENCE_S, Move, Room, Tenant


def room_for(budget=10, keep_s=float("inf"), **needs):
    """Tenants by name, each with what it takes of the one pool there is."""
    room = Room({"cpu": budget})
    tenants = {name: Tenant(name, {"cpu": n}, keep_s=keep_s) for name, n in needs.items()}
    for tenant in tenants.values():
        room.add(tenant)
    return room, tenants


def made(room, now_s):
    """Whatever is to be done now, done at once."""
    while move := room.next_move(now_s):
        for tenant in move.leaving:
            room.close(tenant)
            room.end(tenant)
        if move.waking:
            room.begin(move.waking).loaded_s = now_s


def used_and_left(room, tenant, at_s):
    stay = room.enter(tenant, at_s)
    made(room, at_s)
    room.leave(tenant, stay, at_s)


def test_who_fits_is_loaded_beside_the_others():
    room, all_ = room_for(a=4, b=6)

    used_and_left(room, all_["a"], 0)
    room.enter(all_["b"], 1)

    assert room.next_move(1) == Move(waking=all_["b"])


def test_the_one_that_was_used_least_recently_goes_and_no_other():
    room, all_ = room_for(a=4, b=4, c=4)
    used_and_left(room, all_["a"], 0)
    used_and_left(room, all_["b"], 1)
    used_and_left(room, all_["a"], 2)

    room.enter(all_["c"], 10)

    assert room.next_move(10) == Move(leaving=(all_["b"],))


def test_nobody_goes_whose_place_would_not_be_needed():
    room, all_ = room_for(small=2, large=8, other=8)
    used_and_left(room, all_["small"], 0)
    used_and_left(room, all_["large"], 1)

    room.enter(all_["other"], 10)

    assert room.next_move(10) == Move(leaving=(all_["large"],))


def test_one_that_is_too_large_for_the_rest_of_the_pool_is_loaded_alone():
    room, all_ = room_for(a=4, huge=11)
    used_and_left(room, all_["a"], 0)

    room.enter(all_["huge"], 10)
    assert room.next_move(10) == Move(leaving=(all_["a"],))
    made(room, 10)

    assert all_["huge"].here
    assert not all_["a"].here


def test_an_answer_that_runs_is_never_broken_off():
    room, all_ = room_for(a=6, b=6)
    room.enter(all_["a"], 0)
    made(room, 0)

    room.enter(all_["b"], 1)

    assert room.next_move(1) is None
    assert room.next_move(1 + 100 * PATIENCE_S) is None


def test_an_idle_one_lingers_for_a_moment():
    room, all_ = room_for(a=6, b=6)
    used_and_left(room, all_["a"], 0)

    room.enter(all_["b"], 0.2)

    assert room.next_move(0.2) is None
    assert room.due_s(0.2) == LINGER_S
    assert room.next_move(LINGER_S) == Move(leaving=(all_["a"],))


def test_newcomers_go_in_beside_who_waits_as_long_as_that_is_patient():
    room, all_ = room_for(a=6, b=6)
    first = room.enter(all_["a"], 0)
    made(room, 0)
    room.enter(all_["b"], 1)

    assert room.enter(all_["a"], 1 + PATIENCE_S / 2) is first
    later = room.enter(all_["a"], 1 + PATIENCE_S)

    assert later is all_["a"].coming
    room.leave(all_["a"], first, 20)
    room.leave(all_["a"], first, 20)
    assert room.next_move(20) == Move(leaving=(all_["a"],))
    made(room, 20)
    assert all_["b"].here
    assert all_["a"].coming is later


def test_patience_begins_when_it_is_loaded():
    room, all_ = room_for(a=6, b=6)
    room.enter(all_["b"], 0)
    stay = room.begin(all_["b"])
    room.enter(all_["a"], 0)

    assert room.enter(all_["b"], 5 * PATIENCE_S) is stay
    stay.loaded_s = 6 * PATIENCE_S
    assert room.enter(all_["b"], 6.5 * PATIENCE_S) is stay
    assert room.enter(all_["b"], 7 * PATIENCE_S) is all_["b"].coming


def test_who_comes_while_it_is_unloaded_waits_for_the_next_stay():
    room, all_ = room_for(a=6, b=6)
    used_and_left(room, all_["a"], 0)
    room.enter(all_["b"], 5)
    room.close(all_["a"])

    assert room.enter(all_["a"], 5) is all_["a"].coming


def test_who_leaves_before_it_was_loaded_is_waited_for_no_longer():
    room, all_ = room_for(a=6, b=6)
    used_and_left(room, all_["a"], 0)

    room.leave(all_["b"], room.enter(all_["b"], 5), 6)

    assert room.next_move(10) is None


def test_a_closed_one_whose_rival_has_left_begins_anew():
    room, all_ = room_for(a=6, b=6)
    running = room.enter(all_["a"], 0)
    made(room, 0)
    rival = room.enter(all_["b"], 1)
    late = room.enter(all_["a"], 2 + PATIENCE_S)
    assert late is not running

    room.leave(all_["b"], rival, 20)
    assert room.next_move(20) is None
    room.leave(all_["a"], running, 21)
    made(room, 21)

    assert all_["a"].here is late


def test_an_idle_one_sleeps_after_its_time_and_a_dismissed_one_at_once():
    room, all_ = room_for(keep_s=60, a=4, b=4)
    used_and_left(room, all_["a"], 0)
    used_and_left(room, all_["b"], 5)

    assert room.due_s(10) == 60
    assert room.next_move(60) == Move(leaving=(all_["a"],))
    all_["b"].is_dismissed = True
    assert room.next_move(10) == Move(leaving=(all_["b"],))


def test_a_dismissed_one_that_is_asked_again_stays():
    room, all_ = room_for(a=4)
    used_and_left(room, all_["a"], 0)
    all_["a"].is_dismissed = True

    used_and_left(room, all_["a"], 1)

    assert room.next_move(2) is None


def test_what_a_request_says_last_of_its_stay_counts_until_it_goes():
    room, all_ = room_for(keep_s=60, a=4)
    a = all_["a"]
    first = room.enter(a, 0, keep_s=600)
    made(room, 0)
    second = room.enter(a, 1, keep_s=5)
    third = room.enter(a, 2)
    assert room.left_s(a, 2) == 5, "while it is busy, the time that it will have"
    for stay in (first, second, third):
        room.leave(a, stay, 10)

    assert (room.left_s(a, 12), room.due_s(12)) == (3, 15)
    room.keep(a, 20, 13)
    assert (room.next_move(32), room.left_s(a, 32)) == (None, 1)
    assert room.next_move(33) == Move(leaving=(a,))
    made(room, 33)

    assert room.left_s(a, 34) is None, "it isn't there"
    used_and_left(room, a, 40)
    assert room.left_s(a, 40) == 60, "the next stay is as ever"


def test_one_that_is_to_stay_for_ever_still_makes_place():
    room, all_ = room_for(keep_s=60, a=6, b=6)
    a = all_["a"]
    stay = room.enter(a, 0, keep_s=float("inf"))
    made(room, 0)
    room.leave(a, stay, 1)
    assert (room.left_s(a, 2), room.due_s(2), room.next_move(10_000)) == (None, None, None)

    room.enter(all_["b"], 20_000)

    assert room.next_move(20_001) == Move(leaving=(a,))


def test_what_is_said_with_the_request_that_wakes_it_is_of_the_stay_that_comes():
    room, all_ = room_for(a=4)
    stay = room.enter(all_["a"], 0, keep_s=0)
    made(room, 3)
    room.keep(all_["a"], 7, 4)
    assert room.next_move(5) is None, "it is busy"
    room.leave(all_["a"], stay, 6)

    assert room.left_s(all_["a"], 6) == 7


class Crowd:
    """Requests at random, over an hour, of loads and answers that take their time."""

    def __init__(self, seed):
        self.random, self.now_s, self._order = random.Random(seed), 0.0, itertools.count()
        budget = self.random.randint(6, 14)
        needs = {f"m{i}": self.random.randint(2, 12) for i in range(self.random.randint(2, 5))}
        self.budget = budget
        self.room, tenants = room_for(budget, self.random.choice((float("inf"), 30)), **needs)
        self.tenants = list(tenants.values())
        self.events, self.is_moving = [], False
        self.waits, self.n_ended = [], 0
        self.waiting = {}  # by the stay that they wait for: when they came

    def at(self, seconds, do, *args):
        heapq.heappush(self.events, (self.now_s + seconds, next(self._order), do, args))

    def run(self, n_requests):
        for _ in range(n_requests):
            self.at(self.random.uniform(0, 3600), self.come, self.random.choice(self.tenants))
        while self.events:
            self.now_s, _, do, args = heapq.heappop(self.events)
            do(*args)
            self.go_on()
            self.check()

    def come(self, tenant):
        keep_s = self.random.choice((None, None, None, 0, 5, 600, float("inf")))
        stay = self.room.enter(tenant, self.now_s, keep_s)
        if stay is tenant.here and stay.loaded_s <= self.now_s:
            self.answer(tenant, stay, self.now_s)
        else:
            self.waiting.setdefault(stay, []).append(self.now_s)

    def answer(self, tenant, stay, came_s):
        self.waits.append(self.now_s - came_s)
        self.at(self.random.expovariate(1 / 5), self.end, tenant, stay)

    def end(self, tenant, stay):
        assert tenant.here is stay, "it was broken off"
        self.room.leave(tenant, stay, self.now_s)
        self.n_ended += 1

    def go_on(self):
        if self.is_moving:
            return
        if move := self.room.next_move(self.now_s):
            self.is_moving = True
            for tenant in move.leaving:
                assert not tenant.here.n_users
                self.room.close(tenant)
                self.at(self.random.uniform(0, 2), self.gone, tenant)
            if move.waking:
                self.room.begin(move.waking)
                self.at(self.random.uniform(1, 20), self.loaded, move.waking)
        elif due_s := self.room.due_s(self.now_s):
            self.at(due_s - self.now_s, lambda: None)

    def gone(self, tenant):
        self.room.end(tenant)
        self.is_moving = any(one.here and one.here.is_over for one in self.tenants)

    def loaded(self, tenant):
        self.is_moving, tenant.here.loaded_s = False, self.now_s
        for came_s in self.waiting.pop(tenant.here, ()):
            self.answer(tenant, tenant.here, came_s)

    def check(self):
        here = [one for one in self.tenants if one.here]
        taken = sum(one.needs["cpu"] for one in here)
        assert taken <= self.budget or len(here) == 1, "more is loaded than there is room for"


@pytest.mark.parametrize("seed", range(60))
def test_whatever_comes_everybody_is_answered_once_and_nobody_waits_for_ever(seed):
    crowd = Crowd(seed)

    crowd.run(n_requests=400)

    assert crowd.n_ended == 400
    assert not crowd.waiting
    # For each rival: its patience, its answers to their end, its unloading and the next load.
    assert max(crowd.waits) < 5 * (PATIENCE_S + 60 + 2 + 20)
