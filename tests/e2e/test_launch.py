"""`edgellm launch`: the server is found and told to the app, whose exit code is ours. The apps are
stand-ins (tests/launched_app.py) that ask by the real clients."""

import json
import os
import sys
from pathlib import Path

import launched_app
import pytest
from certificates import AUTHORITY, FOLDER

from edgellm.cli.launching.apps import load, named
from edgellm.cli.launching.place import place_for
from edgellm.config import Config

pytestmark = pytest.mark.model
STAND_IN = Path(launched_app.__file__)
ENDED = 7  # how it ends


@pytest.fixture
def path(tmp_path_factory):
    """A PATH on which every app is."""
    folder = tmp_path_factory.mktemp("bin")
    for app in load():
        program = folder / app.program
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" {app.name} "$@"\n')
        program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("app", load(), ids=lambda app: app.name)
def test_each_app_asks_the_server_that_runs(demo_home, path, app):
    leads_elsewhere = dict.fromkeys(app.unset, "1")
    done = demo_home.run("launch", app.name, "--", "hello", PATH=path, **leads_elsewhere)

    assert done.code == ENDED, done.err
    told = json.loads(done.out)
    assert told["said"]
    assert told["last"] == ["hello"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("claude", "-p", "say hi"), "claude -- -p 'say hi'"),
        (
            ("claude", "--model", "demo", "--resume=x", "--", "y"),
            "claude --model demo -- --resume=x y",
        ),
        (("codex", "exec", "-xyz"), "codex exec -- -xyz"),
        (("-p", "claude"), "APP -- -p claude"),
        (("--model", "demo", "--resume"), "APP --model demo -- --resume"),
        (("--model=demo", "--offline", "codex", "-x"), "--model=demo --offline codex -- -x"),
    ],
)
def test_a_flag_of_the_programs_own_is_told_where_it_stands(home, typed, meant):
    done = home.run("launch", *typed)

    assert done.code == 2
    assert f"  → the program's own stands behind --: edgellm launch {meant}\n" in done.err


def test_what_the_model_lacks_is_told_once_and_before(demo_home, path):
    done = demo_home.run("launch", "claude", PATH=path)

    assert "needs some 32768 tokens of context, and demo was trained for 1024" in done.err
    assert done.err.count("edgellm recommend --use agent") == 1
    assert demo_home.run("launch", "--model", "demo").code == 2


def test_a_server_with_a_key_is_asked_with_it_and_print_never_shows_it(home, path):
    with home.serving("serve", "demo", "--port", "0", EDGELLM_API_KEY="s3cret"):
        done = home.run("launch", "opencode", PATH=path, EDGELLM_API_KEY="s3cret")
        shown = home.run("launch", "opencode", "--print", EDGELLM_API_KEY="s3cret")

    assert done.code == ENDED, done.err
    assert json.loads(done.out)["said"]
    assert 'export LOCAL_SERVER_KEY="$EDGELLM_API_KEY"' in shown.out
    assert "s3cret" not in shown.out


def test_a_model_that_is_not_served_is_there_as_long_as_the_app(home, path):
    done = home.run("launch", "codex", "--model", "demo", "--ctx", "512", PATH=path)

    assert done.code == ENDED, done.err
    assert json.loads(done.out)["said"]
    assert home.run("ps").out.startswith("no server is running here")


@pytest.mark.parametrize(("app", "n_parallel"), [("codex", 2), ("sgpt", 1)])
def test_an_agent_and_its_helper_are_answered_at_the_same_time(home, monkeypatch, app, n_parallel):
    for name, value in home.env.items():
        monkeypatch.setenv(name, value)
    with place_for(named(app), "demo", None, None, Config()) as (place, served):
        assert place.is_private
        assert served.plan.n_parallel == n_parallel


@pytest.mark.parametrize(("app", "use"), [("codex", "agent"), ("sgpt", "chat")])
def test_without_a_server_it_is_said_how_to_have_one(home, path, app, use):
    done = home.run("launch", app, PATH=path)

    assert done.code == 12
    assert f"edgellm serve MODEL --use {use}; or edgellm launch {app} --model MODEL" in done.err


def test_one_that_is_not_installed_is_told_with_how_it_would_be(home):
    done = home.run("launch", "goose", PATH="/usr/bin:/bin")

    assert done.code == 78
    assert "Goose (goose) is not on your PATH" in done.err
    assert "goose-docs.ai" in done.err


def test_a_unix_socket_is_refused_with_a_way_out(home, path):
    socket = home.folder / "e.sock"
    with home.serving("serve", "demo", "--unix-socket", str(socket)):
        done = home.run("launch", "codex", PATH=path)

    assert done.code == 2
    assert "Codex can't speak over a unix socket" in done.err
    assert "edgellm serve demo --port 0" in done.err


def test_of_a_certificate_that_the_app_does_not_know_is_told_how_it_would(home, path):
    pair = (
        "--ssl-cert-file",
        str(FOLDER / "server.pem"),
        "--ssl-key-file",
        str(FOLDER / "server.key"),
    )
    with home.serving("serve", "demo", "--port", "0", *pair):
        refused = home.run("launch", "codex", PATH=path)
        known = home.run("launch", "codex", PATH=path, SSL_CERT_FILE=str(AUTHORITY))

    assert "SSL_CERT_FILE=FILE edgellm launch codex" in refused.err
    assert refused.code != ENDED
    assert known.code == ENDED, known.err


def test_the_table_and_its_json_say_what_is_installed(home, path):
    table = home.run("launch", PATH=path)
    (claude,) = [row for row in table.out.splitlines() if row.startswith("claude")]
    assert claude.split() == ["claude", "Claude", "Code", "yes", "anthropic", "32768", "yes"]
    assert max(map(len, table.out.splitlines())) <= 80

    rows = {row["name"]: row for row in json.loads(home.run("launch", "--json").out)}
    assert rows["goose"]["path"] is None
    assert [*rows] == [app.name for app in load()]
