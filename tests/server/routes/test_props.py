"""What llama-server's clients look at first."""

from dataclasses import replace

import httpx2
import msgspec
import pytest
from server.server_fakes import GAUGE, live_server, served


def test_props_tell_a_client_what_it_may_ask(http):
    told = http.get("/props").json()
    assert told["total_slots"] == 4
    assert told["default_generation_settings"]["n_ctx"] == 512
    assert told["default_generation_settings"]["params"]["top_k"] == 40
    assert (told["model_alias"], told["model_path"]) == ("tiny", "tiny-q8_0.gguf")
    assert told["modalities"] == {"vision": False, "audio": False, "video": False}
    assert "message.role" in told["chat_template"]


def test_of_a_models_path_only_the_files_name_is_told():
    model = served()
    model.engine.plan = replace(model.engine.plan, file="/home/someone/tiny.gguf")
    with live_server(model) as live, httpx2.Client(base_url=live.url) as http:
        assert http.get("/props").json()["model_path"] == "tiny.gguf"


def test_the_slots_show_who_runs(http, engine):
    engine.gauge = replaced(n_running=1, sequences=((9, 7, 7, 3), (10, 5, 0, 0)))
    try:
        busy, *idle = http.get("/slots").json()
    finally:
        engine.gauge = None
    assert (busy["id"], busy["is_processing"], busy["id_task"]) == (0, True, 9)
    assert busy["next_token"] == [{"has_next_token": True, "n_remain": -1, "n_decoded": 3}]
    assert idle == [
        {"id": i, "n_ctx": 512, "speculative": False, "is_processing": False} for i in (1, 2, 3)
    ]


@pytest.mark.parametrize(("n_running", "status"), [(3, 200), (4, 503)])
def test_a_balancer_may_ask_whether_a_slot_is_free(http, engine, n_running, status):
    sequences = tuple((9 + i, 7, 7, 3) for i in range(n_running))
    engine.gauge = replaced(n_running=n_running, sequences=sequences)
    try:
        assert http.get("/slots?fail_on_no_slot=1").status_code == status
        assert http.get("/slots").status_code == 200
    finally:
        engine.gauge = None


def test_a_model_that_is_not_served_has_no_props(http):
    assert http.get("/props?model=nobody").status_code == 404
    with live_server() as live, httpx2.Client(base_url=live.url) as empty:
        assert empty.get("/props").status_code == 503
        assert empty.get("/slots").status_code == 503


def replaced(**more):

    return msgspec.structs.replace(GAUGE, **more)
