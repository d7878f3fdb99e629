"""LoRA adapters through the real server, with a real model and llama.cpp's own adapters.

The recorded tokens are llama-server's, of the same llama.cpp, at temperature 0; its scale 0 is the
base model's text, which EXPECTED.json has, too.
"""

import os
import shutil
import signal
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import openai
import pytest
from live import live_server
from real_model import SHARED_MODELS, needs_shared_models

from edgellm.runner.adapters import Adapter

pytestmark = [pytest.mark.model, needs_shared_models]

PROMPT = "Once upon a time"
MODEL, ADAPTER = "stories260K-f16.gguf", "stories260K-lora-random.gguf"
PAD_MODEL, PAD_ADAPTER = "stories260K-pad-f16.gguf", "stories260K-pad-lora-random.gguf"
TEXTS = {
    0.0: ", there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball.",
    0.5: ", there was a little girl named Lily. She loved to play with her toys and her friends. "
    "One day, Lily's mommy told her that they we",
    1.0: ", there was a little girl named Lily. She loved to play with her toys and play with her "
    "toys. One day, she saw a big, red b",
}


def serving(model=MODEL, adapters=(ADAPTER,), **more):
    """Scale 0 for everybody: who wants one says so."""
    found = [
        Adapter(i, f"adapter{i}", str(SHARED_MODELS / name)) for i, name in enumerate(adapters)
    ]
    return live_server(SHARED_MODELS / model, "stories", adapters=found, **more)


def text(http, **more):
    asked = {"prompt": PROMPT, "max_tokens": 40, "temperature": 0, "logprobs": 0}
    answer = http.post("/v1/completions", json=asked | more)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["text"]


@pytest.mark.parametrize(
    ("model", "adapter"), [(MODEL, ADAPTER), (PAD_MODEL, PAD_ADAPTER)], ids=["plain", "pad"]
)
@pytest.mark.parametrize("unified", [True, False], ids=["unified", "split"])
def test_each_scale_says_what_llama_server_says_alone_and_in_a_mixed_crowd(model, adapter, unified):
    with (
        serving(model, (adapter,), kv_unified=unified, itl_target_s=0.05) as live,
        httpx2.Client(base_url=live.url, timeout=60) as http,
    ):
        lists = {scale: [{"id": 0, "scale": scale}] for scale in TEXTS}
        for scale, want in TEXTS.items():
            assert text(http, lora=lists[scale]) == want
        with ThreadPoolExecutor(12) as pool:
            wanted = [*TEXTS] * 4
            told = pool.map(lambda scale: text(http, lora=lists[scale]), wanted)
            assert list(told) == [TEXTS[scale] for scale in wanted]


def test_an_adapter_is_asked_for_as_a_model_by_the_openai_client():
    with serving() as live, openai.OpenAI(base_url=f"{live.url}/v1", api_key="none") as client:
        asked = {"prompt": PROMPT, "max_tokens": 40, "temperature": 0}
        assert client.completions.create(model="stories", **asked).choices[0].text == TEXTS[0.0]
        answer = client.completions.create(model="adapter0", **asked)
        assert (answer.model, answer.choices[0].text) == ("adapter0", TEXTS[1.0])
        assert [model.id for model in client.models.list()] == ["stories", "adapter0"]


def test_two_halves_are_one_whole():
    with (
        serving(adapters=(ADAPTER, ADAPTER)) as live,
        httpx2.Client(base_url=live.url, timeout=60) as http,
    ):
        halves = [{"id": 0, "scale": 0.5}, {"id": 1, "scale": 0.5}]
        assert text(http, lora=halves) == TEXTS[1.0]


def test_adapters_come_and_go_while_others_are_answered(tmp_path):
    shutil.copy(SHARED_MODELS / ADAPTER, tmp_path)
    with (
        serving(adapters=(), lora_dir=tmp_path) as live,
        httpx2.Client(base_url=live.url, timeout=60) as http,
        ThreadPoolExecutor(1) as pool,
    ):
        neighbour = pool.submit(text, http, max_tokens=450, ignore_eos=True)
        for n in range(3):
            name = {"lora_name": f"round{n}", "lora_path": ADAPTER}
            assert http.post("/v1/load_lora_adapter", json=name).status_code == 200
            assert text(http, model=f"round{n}") == TEXTS[1.0]
            assert http.post("/v1/unload_lora_adapter", json=name).status_code == 200
        assert neighbour.result().startswith(TEXTS[0.0])
        assert [one["id"] for one in http.get("/lora-adapters").json()] == []
        assert live.engine.n_restarts == 0


ALPHA, FIRST = b"adapter.lora.alpha", b"blk.0.ffn_down.weight.lora_a"


def put(data, after, skip, code, value):
    """`value` in place of what stands `skip` bytes after the text `after`."""
    at = data.index(after) + len(after) + skip
    new = struct.pack(f"<{code}", value)
    return data[:at] + new + data[at + len(new) :]


def test_a_new_worker_has_the_adapters_of_the_one_that_died(tmp_path):
    shutil.copy(SHARED_MODELS / ADAPTER, tmp_path)
    with (
        serving(lora_dir=tmp_path) as live,
        httpx2.Client(base_url=live.url, timeout=60) as http,
    ):
        name = {"lora_name": "later", "lora_path": ADAPTER}
        assert http.post("/v1/load_lora_adapter", json=name).status_code == 200
        pid = live.engine.pid
        os.kill(pid, signal.SIGKILL)
        while live.engine.pid == pid or live.engine.state != "ready":
            time.sleep(0.05)
        assert text(http, model="adapter0") == TEXTS[1.0]
        assert text(http, model="later") == TEXTS[1.0]
        assert text(http) == TEXTS[0.0]


# What llama.cpp would refuse, read beyond its buffers for, or end its process of.
DAMAGE = {
    "cut off": lambda data: data[:-200],
    "header only": lambda data: data[:500],
    "empty": lambda data: b"",
    "no GGUF": lambda data: b"hello" * 100,
    "other architecture": lambda data: data.replace(b"llama", b"qwen2", 1),
    "alpha is an integer": lambda data: put(data, ALPHA, 0, "I", 4),
    "alpha is no number": lambda data: put(data, ALPHA, 4, "f", float("nan")),
    "a tensor of another name": lambda data: data.replace(FIRST, FIRST.replace(b"0", b"9")),
    "one half of a pair": lambda data: data.replace(FIRST, FIRST.replace(b"ffn_down", b"ffn_gate")),
    "an absurd shape": lambda data: put(data, FIRST, 4, "q", 1 << 40),
    "matrices that don't meet": lambda data: put(data, FIRST, 4, "q", 4),
    "a billion tensors": lambda data: data[:8] + struct.pack("<Q", 1 << 30) + data[16:],
}


def test_no_file_ends_the_worker(tmp_path):
    data = (SHARED_MODELS / ADAPTER).read_bytes()
    shutil.copy(SHARED_MODELS / PAD_ADAPTER, tmp_path / "another model's.gguf")
    shutil.copy(SHARED_MODELS / MODEL, tmp_path / "a whole model.gguf")
    for kind, damaged in DAMAGE.items():
        (tmp_path / f"{kind}.gguf").write_bytes(damaged(data))
    with (
        serving(adapters=(), lora_dir=tmp_path) as live,
        httpx2.Client(base_url=live.url, timeout=60) as http,
    ):
        pid = live.engine.pid
        for path in sorted(tmp_path.iterdir()):
            name = {"lora_name": "x", "lora_path": path.name}
            answer = http.post("/v1/load_lora_adapter", json=name)
            assert answer.status_code == 422, (path.name, answer.text)
            assert path.name in answer.json()["error"]["message"]
            assert str(tmp_path) not in answer.text
        assert text(http) == TEXTS[0.0]
        assert (live.engine.pid, live.engine.n_restarts) == (pid, 0)
