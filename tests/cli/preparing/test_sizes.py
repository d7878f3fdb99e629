import json

import msgspec
import pytest

from edgellm.cli.flags.described import Described
from edgellm.cli.flags.pins import Pins
from edgellm.cli.preparing.sizes import Users, boards_of, sizes_json, sizes_table
from edgellm.errors import BadRequest, ModelNotFound
from edgellm.probe.known.boards import board_names
from edgellm.selector.plan import Range
from edgellm.selector.sizing import Demand, Sized

DEMAND = Demand(50, 20.0, 1.0)
ROW = Sized(
    board="rtx4090", quant="Q6_K", n_users=25, n_boards=2, n_devices=2, n_instances=1,
    n_ctx_seq=8192, kv_type="q8_0", placement="all layers on 1 device",
    decode_tok_s=Range(15, 20.7, 25), ttft_s=Range(0.2, 0.39, 0.6),
    power_w=450.0, total_power_w=900.0, binding="tok/s",
)  # fmt: skip


def test_a_time_is_read():
    assert Users(users=5, ttft="500ms").demand() == Demand(5, 10.0, 0.5)


def test_what_is_no_time_is_refused():
    with pytest.raises(BadRequest, match="no time"):
        Users(users=5, ttft="soon").demand()


@pytest.mark.parametrize("given", [{"tok_s": 20.0}, {"ttft": "1s"}])
def test_a_service_without_users_is_refused(given):
    with pytest.raises(BadRequest, match="many users"):
        Users(**given).check(Pins())


@pytest.mark.parametrize("pinned", [{"parallel": 4}, {"n_ctx": 32768}])
def test_what_the_number_of_users_decides_cannot_be_pinned_beside_it(pinned):
    with pytest.raises(BadRequest, match="--parallel" if "parallel" in pinned else "-c would"):
        Users(users=50).check(Pins(**pinned))
    Users(users=50).check(Pins(ctx=4096))
    Users().check(Pins(**pinned))


def test_every_board_at_once_is_for_users_alone():
    with pytest.raises(BadRequest, match="a plan is for one machine") as raised:
        Described(on=["all"]).hardware()
    assert "--users" in raised.value.hint


def test_all_means_every_described_board():
    assert tuple(name for name, _ in boards_of(["all"])) == board_names()
    assert [name for name, _ in boards_of(["rpi5", "rtx4090", "rpi5"])] == ["rpi5", "rtx4090"]
    with pytest.raises(ModelNotFound, match="nosuch"):
        boards_of(["nosuch"])


def test_the_table_says_how_many_boards_users_and_watts():
    lines = sizes_table("qwen3:8b", [ROW], DEMAND, 100).splitlines()

    assert lines[0] == "qwen3:8b for 50 users, 20 tok/s each, the first token within 1 s"
    assert lines[3].split()[:5] == ["rtx4090", "2", "2", "25", "900"]
    assert "CONTEXT" in lines[2]


@pytest.mark.parametrize("columns", [70, 80, 100, 120])
def test_no_line_of_the_table_is_wider_than_the_screen(columns):
    row = msgspec.convert(msgspec.to_builtins(ROW) | {"board": "jetson-orin-nano-super"}, Sized)
    lines = sizes_table("qwen3:8b", [row], DEMAND, columns).splitlines()

    assert max(map(len, lines)) <= columns
    assert "BOUND BY" in lines[2]


def test_unknown_watts_are_a_dash():
    row = msgspec.convert(msgspec.to_builtins(ROW) | {"total_power_w": None}, Sized)

    assert sizes_table("m", [row], DEMAND, 100).splitlines()[3].split()[4] == "–"


def test_the_json_has_the_sum_and_the_ranges():
    told = json.loads(msgspec.json.encode(sizes_json("qwen3:8b", [ROW], DEMAND)))

    (row,) = told["boards"]
    assert (row["n_boards"], row["total_power_w"]) == (2, 900.0)
    assert row["decode_tok_s"] == {"p10": 15, "p50": 20.7, "p90": 25}
    assert told["demand"]["n_users"] == 50
