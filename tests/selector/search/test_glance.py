import pytest
import selector_specs as specs

from edgellm.models.known import catalog
from edgellm.probe.known.boards import hardware_from_board
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal
from edgellm.selector.search.glance import could_reach, may_reach

PROFILES = load_profiles()
HELD = "Q4_K_M"
FILES = [
    (entry.name, label)
    for entry in catalog.load_catalog()
    if HELD in (labels := catalog.plannable_quants(entry)) and entry.shape.pooling is None
    for label in labels[:1] + labels[-1:]
]


def file_of(name: str, label: str):
    return specs.candidate(catalog.spec(catalog.find(name), label))


def least_too_fast(reaches) -> float:
    """The pace from which on it isn't reached."""
    low, high = 0.01, 1e6
    for _ in range(30):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if reaches(middle) else (low, middle)
    return high


@pytest.mark.parametrize("board", ["n100", "epyc-9004", "h100"])
def test_no_file_is_faster_than_one_of_four_bits_lets_expect(board):
    """Whatever the room: each is looked at as if there were enough."""
    hardware = hardware_from_board(board)
    for name, label in FILES[::5]:
        held, other = file_of(name, HELD), file_of(name, label)
        most = least_too_fast(
            lambda pace, held=held: could_reach(hardware, held, Goal(), PROFILES, pace)
        )
        assert not may_reach(hardware, other, Goal(), PROFILES, most), (name, label)


@pytest.mark.parametrize(
    ("board", "goal"),
    [("2x3090", {}), ("2x3090", {"objective": "speed"}), ("2x3090", {"split_mode": "tensor"})],
)
def test_what_a_plan_does_could_be_reached(board, goal):
    hardware = hardware_from_board(board)
    for name in ("llama3.3:70b", "qwen3:8b"):
        wish = Goal(**goal)
        held = file_of(name, HELD)
        pace = choose(hardware, [held], wish, PROFILES).decode_tok_s.p50
        assert could_reach(hardware, held, wish, PROFILES, pace)


def test_what_nothing_could_do_could_not():
    held = file_of("qwen3:8b", HELD)
    assert not could_reach(hardware_from_board("rtx3060"), held, Goal(), PROFILES, 1e5)
