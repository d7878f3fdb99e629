import time

import msgspec
import pytest

from edgellm.errors import NotServing
from edgellm.runner.pacing.recorder import StepRecord

RECORD = StepRecord(
    step=1, start_s=0.0, wall_s=0.1, ops_s=0.0, decode_s=0.09, sample_s=0.005, other_s=0.005,
    n_decode=2, n_draft=0, n_prompt=0, n_padding=0, n_sequences=2, n_waiting=1, n_cells_used=9,
    n_kv=256, n_cached=0, n_ops=0,
)  # fmt: skip

STARTED_S = time.monotonic() - 10


@pytest.fixture
def recorded(engine):
    engine.recorded = tuple(
        msgspec.structs.replace(RECORD, step=n, start_s=STARTED_S + n) for n in range(4)
    )
    yield
    engine.recorded = ()


@pytest.mark.usefixtures("recorded")
def test_the_steps_of_every_model_come_oldest_first_on_the_worlds_clock(http):
    tiny, mini = http.get("/edgellm/steps").json()["models"]
    assert (tiny["model"], mini["model"], mini["steps"]) == ("tiny", "mini", [])
    assert [step["step"] for step in tiny["steps"]] == [0, 1, 2, 3]
    assert tiny["steps"][0]["decode_s"] == 0.09
    offset_s = time.time() - time.monotonic()
    assert tiny["steps"][3]["start_s"] - offset_s == pytest.approx(STARTED_S + 3, abs=1)


@pytest.mark.usefixtures("recorded")
def test_last_asks_for_the_newest_only(http):
    steps = http.get("/edgellm/steps?last=2").json()["models"][0]["steps"]
    assert [step["step"] for step in steps] == [2, 3]


@pytest.mark.parametrize(
    "last", ["0", "-1", "1001", "x", "1e3", "9" * 5000, "0000005001", "000000500" * 999]
)
def test_a_last_that_is_no_number_in_bounds_is_refused(http, last):
    assert http.get("/edgellm/steps", params={"last": last}).status_code == 400


def test_a_model_that_is_not_ready_is_left_out(http, engine):
    engine.state = "restarting"
    assert [model["model"] for model in http.get("/edgellm/steps").json()["models"]] == ["mini"]


def test_a_model_that_goes_while_it_is_asked_is_left_out(http, engine, monkeypatch):
    async def goes(n):
        raise NotServing("the model is being unloaded")

    monkeypatch.setattr(engine, "steps", goes)
    assert [model["model"] for model in http.get("/edgellm/steps").json()["models"]] == ["mini"]
