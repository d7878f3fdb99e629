import shlex
from dataclasses import replace

import pytest
from msgspec import structs
from server.server_fakes import FakeEngine, hardware, served, served_embedding

from edgellm.cli.serving.ready import curl_line, ready_text, taken
from edgellm.config import Config
from edgellm.runner.loadlog import DeviceMemory


def loaded(*memory):
    """The fakes' plan counts on 1,230 bytes, all on the CPU."""
    engine = FakeEngine()
    fields = {name: getattr(engine.ready, name) for name in engine.ready.__struct_fields__}
    engine.ready = type(engine.ready)(**fields | {"memory": memory})
    return served("tiny", engine=engine)


def test_it_says_what_is_served_where_and_a_line_to_paste():
    text = ready_text("http://127.0.0.1:8484", [loaded()], hardware(), Config())

    assert text.splitlines()[0] == "edgellm serves tiny (Q8_0, 4 × 512 tokens, 1.2 KiB)"
    assert "  at http://127.0.0.1:8484" in text
    assert text.splitlines()[-1].startswith("curl -s http://127.0.0.1:8484/v1/chat/completions")


@pytest.mark.parametrize(
    ("url", "here", "outside", "elsewhere"),
    [
        ("http://0.0.0.0:84", "http://127.0.0.1:84", "10.0.0.7", "http://10.0.0.7:84"),
        ("http://[::]:84", "http://[::1]:84", "fd00::7", "http://[fd00::7]:84"),
        ("http://0.0.0.0:84", "http://127.0.0.1:84", None, "port 84 of this machine's address"),
        ("https://0.0.0.0:84", "https://127.0.0.1:84", "10.0.0.7", "https://10.0.0.7:84"),
    ],
)
def test_one_that_listens_everywhere_says_where_it_is_asked(url, here, outside, elsewhere):
    text = ready_text(url, [loaded()], hardware(), Config(), lambda host: outside)

    assert text.splitlines()[1:3] == [f"  at {here}", f"  from other machines at {elsewhere}"]
    assert shlex.split(text.splitlines()[-1])[2] == f"{here}/v1/chat/completions"
    assert "0.0.0.0" not in text


@pytest.mark.parametrize(
    ("n_bytes", "said"),
    [
        (1230, "1.2 KiB of it llama.cpp's own, as planned"),
        (1240, "1.2 KiB of it llama.cpp's own, as planned"),
        (1353, "1.3 KiB of it llama.cpp's own, +10.0% beside the plan"),
        (1107, "1.1 KiB of it llama.cpp's own, -10.0% beside the plan"),
    ],
)
def test_what_was_taken_stands_beside_what_was_planned(n_bytes, said):
    assert taken(loaded(DeviceMemory("CPU", n_bytes, 0, 0)), hardware()) == said


def test_without_a_word_from_llama_cpp_nothing_is_said_of_memory():
    assert taken(loaded(), hardware()) is None
    assert "llama.cpp" not in ready_text("http://x", [loaded()], hardware(), Config())


def test_of_two_models_each_is_named_beside_what_it_took():
    took = DeviceMemory("CPU", 1230, 0, 0)
    both = [loaded(took), replace(loaded(took), name="other")]

    text = ready_text("http://x", both, hardware(), Config())

    assert "  tiny: 1.2 KiB of it" in text
    assert "  other: 1.2 KiB of it" in text


@pytest.mark.parametrize(("n_ctx_seq", "is_told"), [(1024, False), (1025, True)])
def test_a_context_beyond_what_the_model_was_trained_for_is_told(n_ctx_seq, is_told):
    model = loaded()
    model.engine.plan = replace(model.engine.plan, n_ctx_seq=n_ctx_seq)
    model.engine.ready = structs.replace(model.engine.ready, n_ctx_train=1024)

    text = ready_text("http://x", [model], hardware(), Config())

    said = f"  {n_ctx_seq} tokens of context are more than the 1024 that it was trained for"
    assert (said in text.splitlines()) is is_told


def test_a_key_is_named_and_never_printed():
    line = curl_line("http://x", loaded(), Config(api_keys=("geheim",)))

    assert "$EDGELLM_API_KEY" in line
    assert "geheim" not in line


def test_who_has_not_set_the_key_is_told_to(monkeypatch):
    text = ready_text("http://x", [loaded()], hardware(), Config(api_keys=("geheim",)))
    assert "export EDGELLM_API_KEY=… first" in text
    assert "geheim" not in text

    monkeypatch.setenv("EDGELLM_API_KEY", "geheim")
    text = ready_text("http://x", [loaded()], hardware(), Config(api_keys=("geheim",)))
    assert "export" not in text
    assert "export" not in ready_text("http://x", [loaded()], hardware(), Config())


def test_a_unix_socket_is_asked_through_its_file():
    words = shlex.split(curl_line("unix:///run/e.sock", loaded(), Config()))

    assert words[2:5] == ["--unix-socket", "/run/e.sock", "http://localhost/v1/chat/completions"]


@pytest.mark.parametrize(
    ("pooling", "route", "field"),
    [("mean", "embeddings", "input"), ("rank", "rerank", "documents")],
)
def test_the_line_asks_a_model_for_what_it_was_made_for(pooling, route, field):
    words = shlex.split(curl_line("http://x", served_embedding("mini", pooling), Config()))

    assert words[2] == f"http://x/v1/{route}"
    assert field in words[-1]
