"""Who has used what, and who is told."""

import errno

import pytest
from prometheus_client.parser import text_string_to_metric_families
from server.key_runs import ask, get, key, serving

from edgellm.meter.usage.diary import Diary


def counted(live, name):
    families = text_string_to_metric_families(get(live, name, "/metrics").text)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("edgellm_key_") and sample.name.endswith("_total")
    }


def test_counts_are_told_by_key_to_who_may_see_them():
    with serving(key("anna"), key("boss", admin=True)) as live:
        ask(live, "anna")
        ask(live, "anna")
        ask(live, "boss")
        metrics = counted(live, "boss")
        assert metrics["edgellm_key_requests_total", "anna", "tiny"] == 2
        assert metrics["edgellm_key_prompt_tokens_total", "anna", "tiny"] == 14
        assert metrics["edgellm_key_cached_tokens_total", "anna", "tiny"] == 6
        assert metrics["edgellm_key_generated_tokens_total", "boss", "tiny"] == 2
        assert not any(name == "edgellm_key_energy_joules_total" for name, *_ in metrics)
        assert counted(live, "anna") == {}
        rows = get(live, "boss", "/edgellm/usage").json()["rows"]
        assert [(row["key"], row["model"], row["n_requests"]) for row in rows] == [
            ("anna", "tiny", 2), ("boss", "tiny", 1),
        ]  # fmt: skip
        own = get(live, "anna", "/edgellm/usage").json()
        assert {row["key"] for row in own["rows"]} == {"anna"}
        assert own["machine"] == []


def test_a_status_tells_of_keys_to_who_may_see_what_they_use():
    with serving(key("anna"), key("boss", admin=True)) as live:
        ask(live, "anna")
        told = get(live, "boss", "/edgellm/status").json()["keys"]
        assert [(one["name"], one["used_today"]) for one in told] == [("anna", 9), ("boss", 0)]
        assert get(live, "anna", "/edgellm/status").json()["keys"] == []


def test_counts_are_on_the_disk_when_the_server_has_ended_and_hold_no_word(tmp_path):
    diary = Diary(tmp_path / "usage", 3)
    with serving(key("anna"), diary=diary) as live:
        ask(live, "anna")
    (day,) = diary.days()
    assert diary.read(day).keys["anna"]["tiny"].n_requests == 1
    text = (tmp_path / "usage" / f"{day}.json").read_text()
    assert "Hi" not in text
    assert "secret" not in text
    with serving(key("anna"), diary=diary) as live:
        ask(live, "anna")
        (row,) = get(live, "anna", "/edgellm/usage").json()["rows"]
        assert row["n_requests"] == 2
        assert get(live, "anna", f"/edgellm/usage?until={day}&since={day}").json()["rows"] == [row]
        assert get(live, "anna", "/edgellm/usage?since=9999-01-01").json()["rows"] == []


def test_counts_that_can_not_be_read_are_the_disks_fault_and_said(tmp_path, monkeypatch):
    def denied(self):
        raise PermissionError(errno.EACCES, "Permission denied", "/home/of/somebody/x.json")

    monkeypatch.setattr(Diary, "days", denied)
    with serving(key("anna"), diary=Diary(tmp_path, 3)) as live:
        answer = get(live, "anna", "/edgellm/usage")
    assert answer.status_code == 507
    assert "can't be read" in answer.text
    assert "/home/of" not in answer.text


@pytest.mark.parametrize("query", ["since=yesterday", "until=2026-13-01", "since="])
def test_a_day_that_is_none_is_named(query):
    with serving(key("boss", admin=True)) as live:
        answer = get(live, "boss", f"/edgellm/usage?{query}")
    assert answer.status_code == 400
    assert "is no day" in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == query.partition("=")[0]
