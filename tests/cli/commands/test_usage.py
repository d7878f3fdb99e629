import json
import stat
import time
from datetime import date, timedelta

import httpx2
import pytest
from cli.serving.announcing import announced
from server.server_fakes import live_server, served
from time_zones import noon

from edgellm.cli.commands.usage import _day, usage
from edgellm.errors import BadRequest, NotServing
from edgellm.keys import Key, digest_of
from edgellm.meter.usage.counts import Day, Use
from edgellm.meter.usage.diary import users_diary
from edgellm.server.door.access import Access

TODAY = date(2026, 11, 28)


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with monkeypatch.context() as zone:
        zone.setenv("TZ", noon())
        time.tzset()
        yield
    time.tzset()


def kept(days_ago, key="anna", n_requests=1):
    day = (date.today() - timedelta(days=days_ago)).isoformat()
    use = Use(n_requests=n_requests, n_output=10, energy_j=3.6e6)
    users_diary(400).add(day, Day(keys={key: {"tiny": use}}))


def told(capsys, **asked):
    usage(**asked, as_json=True)
    return json.loads(capsys.readouterr().out)


def test_without_a_server_the_disk_tells(capsys, tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "edgellm").mkdir()
    (tmp_path / "config" / "edgellm" / "config.toml").write_text(
        'energy_price_per_kwh = 0.5\ncurrency = "EUR"\n'
    )
    kept(0, n_requests=2)
    kept(3)
    kept(40)
    report = told(capsys)
    assert [row["n_requests"] for row in report["rows"]] == [1, 2]
    assert (report["rows"][0]["cost"], report["currency"]) == (0.5, "EUR")
    assert len(told(capsys, since="2000-01-01")["rows"]) == 3
    assert len(told(capsys, since="1d")["rows"]) == 1
    until = (date.today() - timedelta(days=1)).isoformat()
    assert len(told(capsys, until=until)["rows"]) == 1


def test_nothing_on_the_disk_is_nobody_and_no_error(capsys, tmp_path):
    usage()
    assert "nobody has asked from" in capsys.readouterr().out
    assert not (tmp_path / "state").exists()  # to look writes nothing


def test_a_server_that_runs_is_asked_and_not_the_disk(capsys, monkeypatch):
    monkeypatch.setenv("EDGELLM_API_KEY", "b0ss")
    kept(0, "of-the-disk")
    access = Access.of(keys=[Key("boss", digest_of("b0ss"), max_concurrent=7)])
    with live_server(served(), access=access) as live, announced(live.url):
        report = told(capsys)
    assert report["rows"] == []
    assert report["allowances"][0]["max_concurrent"] == 7


def test_one_that_is_named_and_not_there_is_no_reason_to_look_on_the_disk():
    kept(0)
    with pytest.raises(NotServing):
        usage(host="127.0.0.1:1")


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-11-01", "2026-11-01"),
        ("1d", "2026-11-28"),
        ("7d", "2026-11-22"),
        ("0d", "2026-11-28"),
    ],
)
def test_a_day_is_a_date_or_so_many_of_the_last(text, day):
    assert _day(text, "--since", TODAY).isoformat() == day


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "99999999d", "-1d", "7", "99999d"])
def test_what_is_no_day_is_named_with_its_flag(text):
    with pytest.raises(BadRequest, match=r"--since .* is no day"):
        _day(text, "--since", date(1, 1, 20))


def test_a_last_day_before_the_first_is_an_error_with_and_without_a_server():
    words = "2026-12-01 is after 2026-11-01"
    with pytest.raises(BadRequest, match=words):
        usage(since="2026-12-01", until="2026-11-01")
    with live_server(served()) as live:
        query = {"since": "2026-12-01", "until": "2026-11-01"}
        answer = httpx2.get(f"{live.url}/edgellm/usage", params=query)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_a_file_of_counts_is_its_users_alone(tmp_path):
    kept(0)
    assert stat.S_IMODE((tmp_path / "state" / "edgellm" / "usage").stat().st_mode) == 0o700


def test_rows_of_what_is_not_counted_are_told_with_those_that_are():
    with pytest.raises(BadRequest, match="--by 'hour' is not known") as raised:
        usage(by="hour")
    assert raised.value.hint == "one of key, model, day"
