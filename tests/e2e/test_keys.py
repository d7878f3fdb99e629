"""Keys and counts from one server to the next, and without one."""

import json

import httpx2
import pytest
from time_zones import noon

pytestmark = pytest.mark.model

SETTINGS = """
[keys.boss]
key = "b0ss"
admin = true

[keys.anna]
key = "s3cret"
tokens_per_day = 30
"""


@pytest.fixture
def kept(home):
    (home.folder / "config" / "edgellm").mkdir(parents=True)
    (home.folder / "config" / "edgellm" / "config.toml").write_text(SETTINGS)
    home.env["TZ"] = noon()
    return home


def ask(live):
    body = {"model": "demo", "prompt": "Once upon a time", "max_tokens": 40, "ignore_eos": True}
    headers = {"authorization": "Bearer s3cret"}
    return httpx2.post(f"{live.url}/v1/completions", json=body, headers=headers, timeout=120)


def test_a_days_quota_and_all_counts_outlive_the_server(kept):
    with kept.serving("serve", "demo", "--port", "0") as live:
        first = ask(live).json()["usage"]
    with kept.serving("serve", "demo", "--port", "0") as live:
        again = ask(live)
        told = json.loads(kept.run("usage", "--json").out)
    assert again.status_code == 429
    assert f"the key anna has used {first['total_tokens']} tokens today" in again.text
    assert [(row["key"], row["n_requests"], row["n_refused"]) for row in told["rows"]] == [
        ("anna", 0, 1), ("anna", 1, 0),
    ]  # fmt: skip
    done = kept.run("usage")  # nobody serves any more
    assert done.code == 0
    assert done.out.split("\n\n")[1].split()[:4] == ["KEY", "REQUESTS", "REFUSED", "PROMPT"]
    assert "s3cret" not in "".join(
        path.read_text() for path in kept.folder.rglob("*.json") if "usage" in path.parts
    )
