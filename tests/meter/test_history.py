import pytest

from edgellm.meter.history import Ring


def test_the_oldest_falls_out():
    ring = Ring(3)
    for value in (1.0, 2.0, 3.0, 4.0):
        ring.append(value)

    assert ring.values == (2.0, 3.0, 4.0)
    assert (len(ring), ring.capacity, ring.last, ring.largest) == (3, 3, 4.0, 4.0)


def test_a_gap_is_kept_and_counts_as_nothing():
    ring = Ring(4)
    for value in (1.0, None, 3.0):
        ring.append(value)

    assert ring.values == (1.0, None, 3.0)
    assert ring.mean == 2.0


def test_an_empty_ring_knows_nothing():
    ring = Ring(1)

    assert (ring.values, ring.last, ring.largest, ring.mean) == ((), None, None, None)


def test_a_ring_of_nothing_is_refused():
    with pytest.raises(ValueError, match="a ring of 0"):
        Ring(0)
