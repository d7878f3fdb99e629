"""Responses in memory: whose they are, what goes first, and that bytes are counted right."""

import random

import pytest

from edgellm.errors import BadRequest
from edgellm.server.responses.store import Kept, Lost, Store, store_bytes
from edgellm.units import GIB, MIB


def kept(*given, previous_id=None, owner="", told=b"{}", frames=()):
    return Kept(owner, previous_id, given, told, frames=frames)


def is_there(store, id):
    """Without asking for it: that would make it young."""
    return id in store._kept


def test_one_is_found_by_its_id_and_its_key_alone():
    store = Store()
    store.keep("resp_1", kept(b"a", owner="alice"))
    assert store.find("resp_1", "alice") == kept(b"a", owner="alice")
    assert store.find("resp_1", "bob") is None
    assert store.find("resp_1", "") is None
    assert store.find("resp_2", "alice") is None
    assert not store.remove("resp_1", "bob")
    assert store.remove("resp_1", "alice")
    assert not store.remove("resp_1", "alice")
    assert store.n_bytes == 0


@pytest.mark.parametrize("owner", ["bob", ""])
def test_another_key_can_follow_none_either(owner):
    store = Store()
    store.keep("resp_1", kept(owner="alice"))
    with pytest.raises(Lost, match=r"^Previous response with id 'resp_1' not found$") as raised:
        store.conversation("resp_1", owner)
    assert (raised.value.code, raised.value.param, raised.value.http_status) == (
        "previous_response_not_found", "previous_response_id", 400
    )  # fmt: skip


def test_a_conversation_is_what_it_followed_the_first_first():
    store = Store()
    store.keep("resp_1", kept(b"a"))
    store.keep("resp_2", kept(b"b", previous_id="resp_1"))
    store.keep("resp_3", kept(b"c", previous_id="resp_2"))
    store.keep("resp_2b", kept(b"x", previous_id="resp_1"))
    assert [one.given for one in store.conversation("resp_3", "")] == [(b"a",), (b"b",), (b"c",)]
    assert [one.given for one in store.conversation("resp_2b", "")] == [(b"a",), (b"x",)]


def test_what_has_lost_its_beginning_can_be_asked_for_and_not_followed():
    store = Store()
    store.keep("resp_1", kept(b"a"))
    store.keep("resp_2", kept(b"b", previous_id="resp_1"))
    store.remove("resp_1", "")
    assert store.find("resp_2", "") is not None
    with pytest.raises(Lost, match="'resp_1' not found"):
        store.conversation("resp_2", "")


def test_equal_texts_take_room_once():
    text, store = b"a" * 100_000, Store()
    for n in range(50):
        store.keep(f"resp_{n}", kept(*(text + b"%d" % i for i in range(n + 1))))
    assert store.n_bytes < 51 * 100_002 + 50 * 52 * 128
    store.remove("resp_49", "")
    given = store.find("resp_48", "").given
    assert given == tuple(text + b"%d" % i for i in range(49)), "what others have stays"
    assert store.find("resp_0", "").given[0] is given[0]
    for n in range(49):
        store.remove(f"resp_{n}", "")
    assert store.n_bytes == 0
    assert not store._texts


def test_who_was_asked_for_longest_ago_goes_first_and_no_answer_before_what_follows_it():
    size = kept(told=b"a" * 1000).own_bytes
    store = Store(4 * size)
    store.keep("resp_1", kept(told=b"a" * 1000))
    store.keep("resp_2", kept(told=b"a" * 1000, previous_id="resp_1"))
    store.keep("resp_x", kept(told=b"a" * 1000))
    store.keep("resp_y", kept(told=b"a" * 1000))
    store.find("resp_2", "")
    store.keep("resp_z", kept(told=b"a" * 1000))
    assert not is_there(store, "resp_x")
    assert len(store.conversation("resp_2", "")) == 2
    for n in range(3):
        store.keep(f"resp_new_{n}", kept(told=b"a" * 1000))
    assert not is_there(store, "resp_2"), "the end goes before the beginning"
    assert is_there(store, "resp_1")


@pytest.mark.parametrize("large", [kept(told=b"a" * 1000), kept(b"a" * 1000)])
def test_one_that_is_larger_than_all_the_room_takes_nobodys_place(large):
    store = Store(1000)
    store.keep("resp_1", kept())
    store.keep("resp_2", large)
    assert store.find("resp_1", "") is not None
    assert store.find("resp_2", "") is None


def test_a_conversation_larger_than_all_the_room_takes_nobodys_place_and_stays_as_it_is():
    """Without its beginning none of it could be followed, so that never makes place for its end."""
    size = kept(told=b"a" * 1000).own_bytes
    store = Store(4 * size)
    store.keep("resp_x", kept(told=b"a" * 1000))
    for n in range(3):
        store.keep(f"resp_{n}", kept(told=b"a" * 1000, previous_id=f"resp_{n - 1}" if n else None))
    store.keep("resp_large", kept(told=b"a" * 2000, previous_id="resp_2"))
    assert is_there(store, "resp_x")
    assert len(store.conversation("resp_2", "")) == 3
    with pytest.raises(Lost, match="'resp_large' not found") as raised:
        store.conversation("resp_large", "")
    assert "(response_memory)" in raised.value.hint


@pytest.mark.parametrize(("n_frames", "are_kept"), [(10, True), (11, False)])
def test_what_was_streamed_takes_no_more_than_its_part_of_the_room(n_frames, are_kept):
    """A token's event is a hundred times as long as its text."""
    frames = (b"a" * 1000,) * n_frames
    store = Store(8 * (10_000 + 10 * 128))
    store.keep("resp_1", kept(frames=frames))
    assert store.find("resp_1", "").frames == (frames if are_kept else ())


def test_what_others_have_already_makes_none_too_large():
    store = Store(1500)
    store.keep("resp_1", kept(b"a" * 500))
    store.keep("resp_2", kept(*(b"a" * 500,) * 3))
    assert store.find("resp_2", "") is not None


def test_nothing_is_kept_where_there_is_no_room():
    store = Store(0)
    store.keep("resp_1", kept())
    assert store.is_off
    assert store.find("resp_1", "") is None
    with pytest.raises(Lost) as raised:
        store.conversation("resp_1", "")
    assert "response_memory is 0" in raised.value.hint


@pytest.mark.parametrize("seed", range(20))
def test_bytes_are_right_and_within_the_bound_whatever_comes(seed):
    rng = random.Random(seed)
    store, ids = Store(20_000), [None]
    for n in range(300):
        id, owner = f"resp_{n}", rng.choice("ab")
        text = [b"%d" % rng.randrange(20) * 100 for _ in range(rng.randrange(5))]
        frames = (b"f" * 50,) * rng.randrange(3)
        told = b"t" * rng.randrange(3000)
        store.keep(
            id, kept(*text, previous_id=rng.choice(ids), owner=owner, told=told, frames=frames)
        )
        ids.append(id)
        other = rng.choice(ids) or ""
        rng.choice([store.find, store.remove, store.find])(other, rng.choice("ab"))
        texts = {text for one in store._kept.values() for text in one.given}
        assert store.n_bytes == sum(map(len, texts)) + sum(
            one.own_bytes for one in store._kept.values()
        )
        assert store.n_bytes <= 20_000
        assert set(store._texts) == texts


@pytest.mark.parametrize(
    ("setting", "memory_bytes", "n_bytes"),
    [(None, GIB, 8 * MIB), (None, 8 * GIB, 32 * MIB), (None, 1024 * GIB, 128 * MIB),
     ("0", GIB, 0), ("3MiB", GIB, 3 * MIB)],
)  # fmt: skip
def test_there_is_room_by_the_machine_or_as_it_was_set(setting, memory_bytes, n_bytes):
    assert store_bytes(setting, memory_bytes) == n_bytes


def test_an_id_of_any_length_is_not_repeated_whole():
    with pytest.raises(BadRequest) as raised:
        Store().conversation("x" * 1_000_000, "")
    assert len(str(raised.value)) < 200
