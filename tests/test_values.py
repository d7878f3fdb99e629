"""`frozen` makes what the standard library's own frozen, slotted dataclass would be."""

import copy
import math
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import msgspec
import pytest

from edgellm.values import frozen


@frozen
class Card:
    name: str
    n_bytes: int = 3
    links: tuple[str, ...] = field(default_factory=tuple)
    seen: list[str] = field(default_factory=list, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TheirCard:
    name: str
    n_bytes: int = 3
    links: tuple[str, ...] = field(default_factory=tuple)
    seen: list[str] = field(default_factory=list, compare=False, repr=False)


@frozen(kw_only=True)
class Pair:
    left: float
    right: float = 1.0


@frozen
class One:
    rate: float


@frozen
class Nothing:
    pass


@frozen
class Filled:
    given: int
    doubled: int = field(init=False)
    kept: dict[int, int] = field(default_factory=dict, init=False)

    def __post_init__(self):
        object.__setattr__(self, "doubled", 2 * self.given)


@frozen
class Named:
    name: str
    size: int

    def __hash__(self):
        return hash(self.name)

    def __repr__(self):
        return self.name


def test_its_fields_are_those_of_the_library():
    said = [(f.name, f.type, f.default, f.compare, f.repr, f.init) for f in fields(Card)]
    assert said == [
        (f.name, f.type, f.default, f.compare, f.repr, f.init) for f in fields(TheirCard)
    ]
    assert Card.__match_args__ == TheirCard.__match_args__
    assert Card.__slots__ == TheirCard.__slots__


def test_it_is_told_as_the_library_tells_it():
    assert repr(Card("a", 4, ("b",))) == repr(TheirCard("a", 4, ("b",))).replace(
        "TheirCard", "Card"
    )


def test_equal_parts_make_equal_values_with_equal_hashes():
    assert Card("a", seen=["x"]) == Card("a")
    assert hash(Card("a", seen=["x"])) == hash(Card("a"))
    assert Card("a") != Card("b")
    assert Card("a") != TheirCard("a")
    assert One(1.0) == One(1.0) != One(2.0)
    assert One(math.nan) == One(math.nan)  # the same object: as tuples compare
    assert Nothing() == Nothing() != Card("a")
    assert len({Nothing(), Nothing(), One(1.0), One(1.0)}) == 2


def test_no_field_is_changed_or_removed():
    card = Card("a")
    with pytest.raises(FrozenInstanceError, match="'name'"):
        card.name = "b"
    with pytest.raises(FrozenInstanceError, match="'other'"):
        card.other = 1
    with pytest.raises(FrozenInstanceError, match="'name'"):
        del card.name


def test_each_value_has_a_default_of_its_own():
    first, second = Card("a"), Card("a")
    first.seen.append("x")
    assert second.seen == []


def test_a_copy_differs_where_it_is_told_to():
    assert replace(Card("a", 4, ("b",)), n_bytes=5) == Card("a", 5, ("b",))


def test_what_is_by_name_only_is_not_taken_by_place():
    assert Pair(left=2.0) == Pair(left=2.0, right=1.0)
    with pytest.raises(TypeError, match=r"Pair\.__init__"):
        Pair(1.0)


def test_what_is_missing_is_named():
    with pytest.raises(TypeError, match=r"Card\.__init__\(\) missing .* 'name'"):
        Card()


def test_a_field_that_nobody_gives_is_filled_after():
    assert Filled(2).doubled == 4
    assert Filled(2).kept == {}
    with pytest.raises(TypeError):
        Filled(2, 4)


def test_what_the_class_writes_itself_stays():
    assert hash(Named("a", 1)) == hash("a")
    assert repr(Named("a", 1)) == "a"
    assert Named("a", 1) != Named("a", 2)


def test_it_is_matched_by_place():
    match Card("a", 7):
        case Card(name, n_bytes):
            assert (name, n_bytes) == ("a", 7)


def test_it_is_written_as_json():
    assert msgspec.json.encode(Pair(left=2.0)) == b'{"left":2.0,"right":1.0}'
    assert msgspec.convert({"left": 2.0}, Pair) == Pair(left=2.0)


def test_it_can_be_copied_and_pickled():
    whole = Outer(Inner(1), [2])
    for again in (copy.copy(whole), copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert again == whole
        assert again is not whole
    assert copy.deepcopy(whole).parts is not whole.parts


@frozen
class Inner:
    number: int


@frozen
class Outer:
    inner: Inner
    parts: list[int]
