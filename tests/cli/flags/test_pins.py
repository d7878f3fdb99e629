from dataclasses import fields

import pytest

from edgellm.cli.flags.pins import Pins
from edgellm.errors import BadRequest
from edgellm.selector.plan import Goal
from edgellm.units import GIB


def test_what_is_not_said_is_left_to_the_selector():
    assert Pins().goal() == Goal()


def test_the_flags_that_were_set_are_told_as_a_user_writes_them():
    assert Pins().given() == ()
    assert Pins(ctx=5000, kv_unified=False, ngl=3, min_tok_s=2.0).given() == (
        "--ctx 5000", "--min-tok-s 2", "--no-kv-unified", "-ngl 3",
    )  # fmt: skip
    assert Pins(use="code", objective="speed").given() == ("--use code", "--goal speed")
    assert Pins(prefix_disk="my disk", allow_disk=True).given() == (
        "--allow-disk", "--prefix-disk 'my disk'",
    )  # fmt: skip


def test_each_pin_reaches_the_goal():
    goal = Pins(
        ctx=4096, parallel=2, use="agent", objective="speed", min_tok_s=9.5, min_ctx=2048,
        max_watts=300, reserve="2GiB", allow_disk=True, ctk="q8_0", ctv="f16", kv_unified=True,
        ngl=20, ts="3,1", sm="row", ncmoe=8, op_offload=False, ubatch=256, threads=6, flash="on",
        itl=150, prefix_ram="3GiB", speculate="off",
        prefix_disk="/var/kv", prefix_disk_size="4GiB",
    ).goal()  # fmt: skip

    assert goal == Goal(
        n_ctx_seq=4096, n_parallel=2, use="agent", objective="speed", min_tok_s=9.5,
        min_ctx_seq=2048, max_watts=300, reserve_bytes=2 * GIB, allow_disk=True,
        kv_type_k="q8_0", kv_type_v="f16", kv_unified=True, n_gpu_layers=20,
        tensor_split=(3.0, 1.0), split_mode="row", n_cpu_moe=8, op_offload=False, n_ubatch=256,
        n_threads=6, flash_attention=True, itl_target_s=0.15, speculate="off",
        prefix_ram_bytes=3 * GIB, prefix_disk="/var/kv", prefix_disk_bytes=4 * GIB,
    )  # fmt: skip


def test_every_wish_of_a_goal_can_be_said():
    said = Pins(
        ctx=1, n_ctx=1, parallel=1, use="batch", objective="speed", min_tok_s=1, min_ctx=1,
        max_watts=1, reserve="1G", allow_disk=True, ctk="q8_0", ctv="q8_0", kv_unified=True, ngl=1,
        ts="1", sm="row", ncmoe=1, op_offload=True, ubatch=1, threads=1, flash="on", itl=1,
        prefix_ram="1G", prefix_disk="x", prefix_disk_size="1G", speculate="off",
    ).goal()  # fmt: skip
    untouched = {f.name for f in fields(Goal) if getattr(said, f.name) == f.default}

    # The first excludes one pool, see below; the last two are said by which models are named, the
    # two before by a measurement and by a table.
    assert untouched == {"batch_invariant", "tuned", "tabled", "n_turns", "others_bytes"}
    assert Pins(batch_invariant=True).goal().batch_invariant


def test_the_reserve_of_the_configuration_holds_unless_a_flag_says_another():
    assert Pins().goal("1GiB").reserve_bytes == GIB
    assert Pins(reserve="2GiB").goal("1GiB").reserve_bytes == 2 * GIB


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"use": "fun"}, "--use 'fun'"),
        ({"objective": "cheap"}, "--goal 'cheap'"),
        ({"flash": "yes"}, "--flash-attn 'yes'"),
        ({"ctk": "q9"}, "--cache-type-k 'q9'"),
        ({"sm": "rows"}, "--split-mode 'rows'"),
        ({"speculate": "eagle"}, "--speculate 'eagle'"),
        ({"reserve": "much"}, "not a size"),
        ({"ts": "a,b"}, "-ts 'a,b'"),
        ({"ts": "0,0"}, "-ts is 0,0"),
        ({"ts": "-1,2"}, "-ts is -1,2"),
        ({"ts": "nan,1"}, "-ts is nan,1"),
        ({"ts": ""}, "-ts ''"),
        ({"ctx": 2**31}, "2147483648 as --ctx; llama.cpp holds 2147483647"),
        ({"threads": 513}, "513 as -t; llama.cpp holds 512"),
        ({"ubatch": 10**12}, "1000000000000 as -ub"),
        ({"ctx": 4096, "min_ctx": 8192}, "--min-ctx asks for 8192"),
        ({"n_ctx": 4096, "min_ctx": 8192}, "--min-ctx asks for 8192"),
        ({"ctx": 4096, "parallel": 4, "n_ctx": 8192}, "4 conversations of 4096 tokens are 16384"),
        ({"ngl": 0, "ts": "1,1"}, "-ngl 0"),
        ({"parallel": 257}, "llama.cpp holds 256"),
        ({"min_tok_s": 0}, "--min-tok-s is 0"),
        ({"ctx": "abc"}, "--ctx is 'abc'; it must be a whole number"),
        ({"ctx": 1.5}, "--ctx is 1.5; it must be a whole number"),
        ({"ctx": True}, "--ctx is True; it must be a whole number"),
        ({"ctx": 0}, "--ctx is 0; it must be 1 or more"),
        ({"ngl": -7}, "-ngl is -7; it must be -1 or more"),
        ({"itl": 0}, "--itl is 0; it must be 1 or more"),
        ({"ts": [1]}, "-ts is [1]; it must be a word"),
        ({"ctk": 8}, "-ctk is 8; it must be a word"),
        ({"use": 3}, "--use is 3; it must be a word"),
        ({"reserve": 2**31}, "--reserve is 2147483648; it must be a word or a size"),
        ({"max_watts": "x"}, "--max-watts is 'x'; it must be a number"),
        ({"allow_disk": 1}, "--allow-disk is 1; it must be True or False"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(given, words):
    with pytest.raises(BadRequest) as refused:
        Pins(**given).goal()

    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_one_pool_may_promise_more_than_it_holds():
    assert Pins(ctx=4096, parallel=4, n_ctx=8192, kv_unified=True).goal().n_ctx == 8192
