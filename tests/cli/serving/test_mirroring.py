from pathlib import Path

import pytest

from edgellm.cli.serving.mirroring import ended_text, ready_text
from edgellm.config import Config
from edgellm.server.hub.app import Download
from edgellm.server.serve import Bind

ROOT = Path("/models/hub")
MODEL = ("org/tiny-GGUF:Q8_0", "5.0 GiB")


def ready(url, *models, host="0.0.0.0", outside=lambda host: "192.168.1.5", **settings):
    return ready_text(url, models, ROOT, Bind(host), Config(**settings), outside)


def download(**how):
    given = {"start": 0, "sent_bytes": 5 << 30, "size_bytes": 5 << 30, "took_s": 43.0} | how
    return Download("192.168.1.7", "org/tiny-GGUF", "tiny-Q8_0.gguf", **given)


def test_it_says_what_is_here_and_what_to_type_elsewhere():
    assert ready("http://0.0.0.0:8485", MODEL).splitlines() == [
        "edgellm mirror serves 1 model of /models/hub",
        "  at http://127.0.0.1:8485",
        "",
        "MODEL                  SIZE",
        "org/tiny-GGUF:Q8_0  5.0 GiB",
        "",
        "On the other machines:",
        "",
        "  export HF_ENDPOINT=http://192.168.1.5:8485",
        "  edgellm pull ORG/REPO:QUANT   # or hf download, or llama-server -hf",
    ]


@pytest.mark.parametrize(
    ("url", "outside", "named"),
    [
        ("http://0.0.0.0:8485", None, "http://ADDRESS:8485"),
        ("http://[::]:8485", "fd00::5", "http://[fd00::5]:8485"),
        ("https://0.0.0.0:443", "10.0.0.2", "https://10.0.0.2:443"),
        ("http://10.0.0.9:80", "10.0.0.2", "http://10.0.0.9:80"),
    ],
)
def test_others_are_told_an_address_that_they_reach(url, outside, named):
    assert f"export HF_ENDPOINT={named}\n" in ready(url, outside=lambda host: outside)


def test_a_key_is_named_and_never_told():
    text = ready("http://0.0.0.0:8485", api_keys=("hf_secret",))
    assert "export HF_TOKEN=…" in text
    assert "hf_secret" not in text


def test_on_loopback_it_says_that_nobody_else_comes():
    text = ready("http://127.0.0.1:8485", host="127.0.0.1")
    assert text.endswith("Only this machine reaches it: --host 0.0.0.0 opens it to the others.")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({}, "5.0 GiB in 43.0 s, 119.1 MiB/s"),
        ({"start": 1 << 30, "sent_bytes": 4 << 30}, "4.0 GiB in 43.0 s, 95.3 MiB/s, from 20% on"),
        ({"sent_bytes": 1 << 30}, "1.0 GiB in 43.0 s, 23.8 MiB/s; broken off at 20%"),
        ({"sent_bytes": 0, "took_s": 0.0}, "0 B in 0 ms; broken off at 0%"),
    ],
)
def test_a_line_tells_of_a_download_that_has_ended(how, words):
    assert ended_text(download(**how)) == f"192.168.1.7  org/tiny-GGUF  tiny-Q8_0.gguf  {words}"


def test_a_name_steers_no_terminal():
    hostile = Download("1.2.3.4", "org/x", "a\x1b[2J\u202e.gguf", 0, 1, 1, 1.0)
    assert ended_text(hostile).startswith("1.2.3.4 org/x a.gguf".replace(" ", "  "))
