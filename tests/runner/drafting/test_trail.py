import random

from edgellm.runner.drafting.trail import Trail


def read(trail):
    return [(pair.pos, pair.token, pair.state) for pair in trail.take()]


def test_a_token_waits_with_the_state_of_the_one_before():
    trail = Trail()
    trail.see(10, "after 10")
    trail.see(11, "after 11")
    assert read(trail) == [(0, 10, None), (1, 11, "after 10")]
    trail.see(12, "after 12")
    assert read(trail) == [(2, 12, "after 11")]
    assert (trail.n_held, trail.state) == (3, "after 12")


def test_what_was_read_to_guess_after_it_is_not_read_twice():
    trail = Trail()
    trail.see(10, "after 10")
    trail.take()
    trail.n_held = 2  # the next token, which the model has yet to compute
    trail.see(11, "after 11")
    trail.see(12, "after 12")
    assert read(trail) == [(2, 12, "after 11")]


def test_a_trail_that_is_cut_goes_on_without_the_state_there():
    trail = Trail()
    for token in range(5):
        trail.see(token, f"after {token}")
    trail.cut(3)
    trail.see(7, "after 7")
    assert read(trail) == [(0, 0, None), (1, 1, "after 0"), (2, 2, "after 1"), (3, 7, None)]


def test_a_trail_that_is_cut_where_it_ends_keeps_its_state():
    trail = Trail()
    trail.see(0, "after 0")
    trail.cut(1)
    assert trail.state == "after 0"


def test_a_fork_leaves_the_other_as_it_was():
    trail = Trail()
    for token in range(4):
        trail.see(token, f"after {token}")
    fork = trail.forked(2)
    fork.see(9, "after 9")
    assert read(fork) == [(0, 0, None), (1, 1, "after 0"), (2, 9, None)]
    assert len(read(trail)) == 4


def test_a_trail_that_begins_late_waits_from_there_on():
    trail = Trail(100)
    trail.see(5, "after 5")
    assert read(trail) == [(100, 5, None)]
    trail.cut(40)
    assert (trail.n_seen, trail.n_held, trail.waiting) == (40, 40, [])


def test_every_token_that_was_seen_is_held_or_waits_whatever_happens():
    draw = random.Random(1)
    trail = Trail()
    for _ in range(2000):
        match draw.randrange(5):
            case 0:
                trail.take()
            case 1:
                trail.cut(draw.randint(0, trail.n_seen))
            case 2 if not trail.waiting and trail.n_held == trail.n_seen:
                trail.n_held += 1
            case 3:
                trail = trail.forked(draw.randint(0, trail.n_seen))
            case _:
                trail.see(1, "state")
        assert trail.n_held + len(trail.waiting) - trail.n_seen in (0, 1)
        assert [pair.pos for pair in trail.waiting] == list(
            range(trail.n_held, trail.n_held + len(trail.waiting))
        )
