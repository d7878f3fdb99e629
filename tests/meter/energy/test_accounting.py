import pytest
from selector_machines import machine

from edgellm.meter.energy.accounting import Account, Totals
from edgellm.meter.energy.ledger import Work
from edgellm.meter.sample import Sample

ENGINE, OTHER = "engine", "other"


def account():
    return Account(machine(ram=64))


def at(second, watts=100.0):
    return (Sample("gpu", float(second), power_w=watts),)


def test_two_requests_share_what_the_sensors_counted_by_their_work():
    book = account()
    book.read(0, at(0))
    book.note(ENGINE, [Work(1, 1.0, 36), Work(2, 1.0, 236)])
    book.read(1, at(1))

    assert book.end(ENGINE, Work(1, 1.0, 36)) == pytest.approx(25.0)
    assert book.end(ENGINE, Work(2, 1.0, 236)) == pytest.approx(75.0)
    assert book.totals == Totals(total_j=100.0, idle_j=0.0, power_w=100.0)
    assert book.totals.requests_j == 100.0


def test_the_same_samples_again_book_nothing():
    book = account()
    book.read(0, at(0))
    book.read(1, at(1))
    book.read(1.5, at(1))
    assert book.totals.total_j == 100.0


def test_a_request_that_ended_is_not_listed_a_second_time_by_a_gauge_that_is_late():
    book = account()
    book.read(0, at(0))
    book.note(ENGINE, [Work(1, 10.0, 10)])
    book.read(1, at(1))
    assert book.end(ENGINE, Work(1, 10.0, 10)) == 100.0
    book.note(ENGINE, [Work(1, 10.0, 10)])
    book.read(2, at(2))
    assert book.totals.idle_j == 100.0


def test_who_reads_slowly_is_charged_for_its_own_time_only():
    book = account()
    book.read(0, at(0))
    book.note(ENGINE, [Work(1, 10.0, 10)])
    book.read(1, at(1))
    book.note(ENGINE, [Work(2, 10.0, 10)])  # the first one is gone
    book.read(2, at(2, watts=300.0))
    assert book.end(ENGINE, Work(1, 10.0, 10)) == 100.0
    assert book.end(ENGINE, Work(2, 10.0, 10)) == 200.0


def test_work_after_the_last_gauge_is_charged_by_the_last_price():
    book = account()
    book.read(0, at(0))
    book.note(ENGINE, [Work(1, 0.0, 100)])
    book.read(1, at(1))
    book.note(ENGINE, [])
    assert book.end(ENGINE, Work(1, 0.0, 150)) == 150.0


def test_a_short_answer_in_a_quiet_second_pays_for_its_own_part_of_it():
    book = account()
    for second in range(3):
        book.read(second, at(second))
    book.note(ENGINE, [Work(1, 10.0, 10, step_share_s=0.1)])
    book.read(3, at(3))

    assert book.end(ENGINE, Work(1, 10.0, 10, 0.1)) == pytest.approx(10.0)
    assert book.totals.idle_j == pytest.approx(290.0)


def test_what_a_short_answer_draws_above_idling_is_all_its_own():
    book = account()
    joules = [0.0, 100.0, 200.0, 330.0]  # the last: 90 of idling, 40 of a tenth of a second
    for second, energy_j in enumerate(joules):
        if second == 3:
            book.note(ENGINE, [Work(1, 10.0, 10, 0.1)])
        book.read(second, (Sample("gpu", float(second), energy_j=energy_j),))

    assert book.end(ENGINE, Work(1, 10.0, 10, 0.1)) == pytest.approx(40.0)


def test_a_crowd_after_a_lonely_answer_is_not_charged_by_the_lonely_second():
    """All of them begin and end between two readings: they pay in advance."""
    book = account()
    for second in range(4):
        if second == 3:
            book.note(ENGINE, [Work(1, 10.0, 10, 0.01)])
        book.read(second, at(second))
    book.end(ENGINE, Work(1, 10.0, 10, 0.01))
    crowd = [book.end(ENGINE, Work(2 + n, 10.0, 10, 0.01)) for n in range(50)]
    book.read(4, at(4))

    assert sum(crowd) == pytest.approx(50.0), "half a second's"
    assert book.totals.idle_j == pytest.approx(400.0 - 1.0 - 50.0)


def test_two_answers_at_a_time_are_busy_no_longer_than_the_machine():
    book = account()
    book.read(0, at(0))
    book.note(ENGINE, [Work(1, 5.0, 10, 0.25), Work(2, 5.0, 10, 0.25)])
    book.read(1, at(1))

    assert book.end(ENGINE, Work(1, 5.0, 10, 0.25)) == pytest.approx(25.0)
    assert book.totals.idle_j == pytest.approx(50.0)


def test_engines_count_their_requests_apart():
    book = account()
    book.read(0, at(0))
    book.note(ENGINE, [Work(1, 0.0, 30)])
    book.note(OTHER, [Work(1, 0.0, 70)])
    book.read(1, at(1))
    assert book.end(ENGINE, Work(1, 0.0, 30)) == pytest.approx(30.0)
    assert book.end(OTHER, Work(1, 0.0, 70)) == pytest.approx(70.0)


def test_without_a_sensor_there_is_no_number():
    book = account()
    for second in range(30):
        book.read(second, (Sample("cpu", float(second)),))
        book.note(ENGINE, [Work(1, float(second), second)])
    assert book.end(ENGINE, Work(1, 30.0, 30)) is None
    assert book.totals is None


def test_a_sensor_that_was_blind_for_a_while_makes_no_number_of_it():
    book = account()
    book.read(0, at(0))
    book.note(ENGINE, [Work(1, 1.0, 1)])
    book.read(1, at(1))
    book.note(ENGINE, [Work(1, 5.0, 5)])
    for second in range(2, 14):
        book.read(second, ())
    book.read(14, at(14))
    book.read(15, at(15))
    assert book.end(ENGINE, Work(1, 5.0, 5)) is None


def test_requests_that_nobody_asks_for_are_forgotten_and_their_joules_stay():
    book = account()
    book.read(0, at(0))
    for number in range(5000):
        book.note(ENGINE, [Work(number, 1.0, 1)])
        book.read(1 + number, at(1 + number))
    assert book.totals.requests_j == pytest.approx(book.totals.total_j)
    assert book.end(ENGINE, Work(4990, 1.0, 1)) == pytest.approx(100.0)
    assert len(book._noted) < 4200
