import json
import os
import sys
from dataclasses import replace

import pytest
from cli.serving.announcing import announced, http_server
from gguf_files import llama_bytes
from server.server_fakes import FakeEngine, live_server, served
from server.server_fakes import plan as any_plan

from edgellm.cli.commands.models import list_models, rm, show
from edgellm.errors import BadRequest
from edgellm.models.fetching.journal import journal_of

MODEL = "org/repo:Q8_0"
NOBODY = "127.0.0.1:9"


@pytest.fixture
def downloaded(tmp_path):
    """One file in each of two commits."""
    folder = tmp_path / "hf" / "hub" / "models--org--repo"
    (folder / "blobs").mkdir(parents=True)
    for commit in ("old", "new"):
        (folder / "blobs" / f"blob-{commit}").write_bytes(bytes(1000))
        link = folder / "snapshots" / commit / "m-Q8_0.gguf"
        link.parent.mkdir(parents=True)
        link.symlink_to(folder / "blobs" / f"blob-{commit}")
    return folder


def link_of(folder, commit):
    return folder / "snapshots" / commit / "m-Q8_0.gguf"


def serving(file, *, state="ready", may_go=False, **beside):
    plan = replace(any_plan(file=str(file)), **{name: str(path) for name, path in beside.items()})
    return live_server(served(engine=FakeEngine(plan=plan, state=state), may_go=may_go))


@pytest.mark.parametrize("host", [None, NOBODY])
@pytest.mark.parametrize("commit", ["old", "new"])
def test_a_model_that_is_served_here_stays_whichever_host_is_named(
    downloaded, monkeypatch, host, commit
):
    if host:
        monkeypatch.setenv("EDGELLM_HOST", host)
    link = link_of(downloaded, commit)
    with (
        serving(link) as live,
        announced(live.url),
        pytest.raises(BadRequest, match="is being served"),
    ):
        rm(MODEL)
    assert link.exists()


@pytest.mark.parametrize(("state", "may_go"), [("ready", True), ("sleeping", False)])
def test_a_model_stays_that_is_loaded_or_that_its_server_was_told_to_have(
    downloaded, state, may_go
):
    link = link_of(downloaded, "new")
    with (
        serving(link, state=state, may_go=may_go) as live,
        announced(live.url),
        pytest.raises(BadRequest, match="is being served"),
    ):
        rm(MODEL)
    assert link.exists()


def test_one_of_all_on_this_disk_goes_while_it_sleeps(downloaded):
    link = link_of(downloaded, "new")
    with serving(link, state="sleeping", may_go=True) as live, announced(live.url):
        rm(MODEL)
    assert not link.exists()


def test_what_is_older_goes_beside_a_server_of_the_newer_one_alone(downloaded):
    os.utime(link_of(downloaded, "new"), (2e9, 2e9))
    with (
        serving(link_of(downloaded, "old")) as live,
        announced(live.url),
        pytest.raises(BadRequest),
    ):
        rm(MODEL, older=True)
    assert link_of(downloaded, "old").exists()
    with serving(link_of(downloaded, "new")) as live, announced(live.url):
        rm(MODEL, older=True)
    assert not link_of(downloaded, "old").exists()
    assert link_of(downloaded, "new").exists()


def test_one_whose_blob_is_served_by_another_name_stays(downloaded, tmp_path):
    name = tmp_path / "mine.gguf"
    name.symlink_to(link_of(downloaded, "new"))
    with serving(name) as live, announced(live.url), pytest.raises(BadRequest):
        rm(MODEL)


def test_a_model_goes_though_nobody_answers_at_the_host_that_is_named(
    downloaded, monkeypatch, capsys
):
    monkeypatch.setenv("EDGELLM_HOST", NOBODY)
    rm(MODEL)
    assert capsys.readouterr().out == f"removed {MODEL}: 2.0 KiB are free again\n"
    assert not link_of(downloaded, "new").exists()


def test_a_server_that_cannot_say_what_it_serves_is_passed_over_aloud(downloaded, capsys):
    with http_server(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n") as url, announced(url):
        rm(MODEL)
    assert capsys.readouterr().err.startswith(f"passed over: no edgellm at {url}")


@pytest.mark.parametrize("role", ["draft", "projector"])
def test_a_file_that_helps_one_that_is_served_stays(downloaded, role):
    with (
        serving("big.gguf", **{role: link_of(downloaded, "new")}) as live,
        announced(live.url),
        announced("http://127.0.0.1:1"),
        pytest.raises(BadRequest, match="is being served") as refused,
    ):
        rm(MODEL)
    assert refused.value.hint == f"edgellm stop --host {live.url}"


def test_of_a_projector_that_is_not_whole_its_model_is_to_be_pulled(downloaded, capsys):
    for name, file in (("a", "m-Q4_0.gguf"), ("b", "mmproj-F16.gguf")):
        part = downloaded / "blobs" / f"{name}.edgellm.part"
        part.write_bytes(bytes(10))
        entry = {"file": file, "size_bytes": 1000, "synced_bytes": 0, "boot_id": None}
        journal_of(part).write_text(json.dumps(entry))
    list_models()
    lines = [line for line in capsys.readouterr().out.splitlines() if "not whole" in line]
    assert [line.split("  ")[-1] for line in lines] == [
        "not whole: pull it again",
        "not whole: pull its model again",
    ]


def test_a_strangers_words_are_shown_on_one_line_and_do_nothing_to_the_terminal(tmp_path, capsys):
    path = tmp_path / "m-Q8_0.gguf"
    path.write_bytes(
        llama_bytes(**{"general.license": "\x1b[2J\x1b]0;title\x07mit\nfrom  nowhere"})
    )
    show(str(path))
    assert "  licence       mit from  nowhere\n" in capsys.readouterr().out


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_strangers_template_is_whole_in_a_pipe_and_harmless_in_a_terminal(
    tmp_path, capsys, monkeypatch, is_terminal
):
    path = tmp_path / "m-Q8_0.gguf"
    path.write_bytes(llama_bytes(**{"tokenizer.chat_template": "a\x1b[2J{{ messages }}"}))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)  # as in a loop of a shell
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    show(str(path), template=True)
    shown = "a{{ messages }}\n" if is_terminal else "a\x1b[2J{{ messages }}\n"
    assert capsys.readouterr().out == shown
