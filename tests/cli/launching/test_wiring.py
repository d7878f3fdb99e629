import json
import subprocess

import pytest

from edgellm.cli.launching.apps import App, load
from edgellm.cli.launching.wiring import KEYLESS, Place, as_shell, wired

HERE = Place("http://127.0.0.1:8484", "qwen3:8b", None, 32768)


def app(**fields):
    facts = {"name": "a", "title": "A", "program": "a", "dialect": "openai", "install": "i"}
    return App(**facts | {"needs_ctx": 1, "certificates": "C"} | fields)


def test_an_app_is_told_by_its_words_and_the_users_come_last():
    known = app(arguments=("-m", "openai/$model"), environment={"BASE": "$api", "ROOT": "$url"})
    launch = wired(known, HERE, ("-p", "costs $5"), "/x")
    assert launch.argv == ("a", "-m", "openai/qwen3:8b", "-p", "costs $5")
    assert launch.environment == {
        "BASE": "http://127.0.0.1:8484/v1", "ROOT": "http://127.0.0.1:8484",
    }  # fmt: skip
    assert launch.files == {}


def test_a_session_is_begun_only_where_the_user_says_nothing():
    known = app(session=("session",))
    assert wired(known, HERE, (), "/x").argv == ("a", "session")
    assert wired(known, HERE, ("run",), "/x").argv == ("a", "run")


def test_settings_are_json_whose_counts_are_numbers_and_whose_names_hold_whatever_letters():
    config = {"models": {"$model": {"limit": {"context": "$n_ctx", "output": "$n_answer"}}}}
    known = app(config=config, arguments=("--config", "$file"), environment={"SIZE": "$n_ctx"})
    odd = 'my "best" $model.gguf'
    launch = wired(known, Place("http://h:1", odd, None, 4096), (), "/x")
    assert launch.argv == ("a", "--config", "/x/a.json")
    assert json.loads(launch.files["/x/a.json"]) == {
        "models": {odd: {"limit": {"context": 4096, "output": 1024}}}
    }
    assert launch.environment == {"SIZE": "4096"}


def test_settings_that_go_by_a_variable_make_no_file():
    launch = wired(app(config={"m": "$model"}, environment={"CONFIG": "$config"}), HERE, (), "/x")
    assert launch.environment == {"CONFIG": '{"m":"qwen3:8b"}'}
    assert launch.files == {}


def test_who_asks_for_no_key_is_sent_a_word_and_who_does_the_key():
    known = app(environment={"KEY": "$key"})
    assert wired(known, HERE, (), "/x").environment == {"KEY": KEYLESS}
    launch = wired(known, Place("http://h:1", "m", "s3cret", None), (), "/x")
    assert launch.environment == {"KEY": "s3cret"}
    assert launch.secrets == {"KEY"}


@pytest.mark.parametrize("known", load(), ids=lambda known: known.name)
def test_each_apps_facts_can_be_filled_and_its_key_is_in_its_environment_only(known):
    launch = wired(known, Place("http://127.0.0.1:1", "m", "s3cret", 8192), ("hi",), "/x")
    assert "s3cret" not in " ".join((*launch.argv, *launch.files.values()))
    assert [name for name, value in launch.environment.items() if "s3cret" in value] == [
        *launch.secrets
    ]
    assert len(launch.secrets) == 1
    told = " ".join((*launch.argv, *launch.environment.values(), *launch.files.values()))
    assert "127.0.0.1:1" in told
    assert "$" not in told
    assert known.source
    assert known.date


def test_a_shell_does_what_launch_would_do_and_is_never_shown_the_key():
    known = app(
        program="printenv", unset=("ELSEWHERE",), config={"m": "$model"},
        environment={"KEY": "$key", "NAME": "it's $model"}, arguments=("KEY", "NAME"),
    )  # fmt: skip
    launch = wired(known, Place("http://h:1", "m", "s3cret", None), (), "/x")
    text = as_shell(launch, asks_for_key=True)
    assert "s3cret" not in text
    assert "unset ELSEWHERE" in text
    done = subprocess.run(
        ("sh", "-c", text), env={"EDGELLM_API_KEY": "s3cret", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "s3cret\nit's m\n"


def test_a_shell_writes_the_file_of_settings_first(tmp_path):
    folder = tmp_path / "a folder"
    known = app(program="cat", arguments=("$file",), config={"m": "it's $model"})
    text = as_shell(wired(known, HERE, (), str(folder)), asks_for_key=False)
    done = subprocess.run(("sh", "-c", text), capture_output=True, text=True)
    assert json.loads(done.stdout) == {"m": "it's qwen3:8b"}
