import pytest
from selector_machines import machine

from edgellm.cli.preparing.catalog_ranking import recommended
from edgellm.probe.known.boards import hardware_from_board
from edgellm.profiles import load_profiles
from edgellm.selector.plan import Goal

PROFILES = load_profiles()


def families(choices):
    return [choice.name.partition(":")[0] for choice in choices]


@pytest.fixture(scope="module")
def on_a_small_board():
    return recommended(hardware_from_board("rpi5"), Goal(), PROFILES)


def test_ten_at_most_and_one_of_each_family(on_a_small_board):
    assert len(on_a_small_board) == 10
    assert len(set(families(on_a_small_board))) == 10


def test_the_best_comes_first(on_a_small_board):
    merits = [choice.merit for choice in on_a_small_board]

    assert merits == sorted(merits, reverse=True)


def test_what_is_listed_fits(on_a_small_board):
    room_bytes = hardware_from_board("rpi5").host.total_bytes

    assert all(choice.plan.total_bytes < room_bytes for choice in on_a_small_board)


def test_only_what_can_be_had_and_served_is_listed(on_a_small_board):
    for choice in on_a_small_board:
        assert choice.candidate.source.startswith("hf.co/")
        assert choice.plan.decode_tok_s is not None


def test_for_code_the_families_made_for_it_come_first():
    found = recommended(hardware_from_board("rpi5"), Goal(use="agent"), PROFILES, prefers_code=True)
    are_coders = ["cod" in family for family in families(found)]

    assert are_coders[0]
    assert are_coders == sorted(are_coders, reverse=True)


def test_a_wish_that_nothing_keeps_leaves_nothing():
    assert recommended(machine(ram=1.5), Goal(min_tok_s=10_000), PROFILES) == []


def test_on_a_machine_without_room_nothing_is_recommended():
    assert recommended(machine(ram=0.1), Goal(), PROFILES) == []
