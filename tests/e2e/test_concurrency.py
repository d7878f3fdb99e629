"""Many clients at once, over real sockets: no error, no lost token, every request ends once."""

import asyncio
import json
import os
import signal

import httpx2
import pytest
from live import live_server
from supervisor_runs import LONG

pytestmark = pytest.mark.model


async def stream(client, url, prompt, n, begun=lambda: None):
    """The text, the server's own token count, and how the stream ended; `begun` is called at each
    of its words."""
    body = {
        "model": "demo", "prompt": prompt, "max_tokens": n, "temperature": 0, "stream": True,
        "ignore_eos": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    text, n_tokens, endings = "", None, []
    async with client.stream("POST", f"{url}/v1/completions", json=body) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                endings.append("done")
            elif line.startswith("data: "):
                event = json.loads(line[6:])
                if "error" in event:
                    endings.append("error")
                    continue
                n_tokens = (event.get("usage") or {}).get("completion_tokens", n_tokens)
                text += "".join(choice["text"] for choice in event["choices"])
                begun()
    return text, n_tokens, endings


def test_two_hundred_streams_at_once_lose_no_token_and_agree_with_one_alone():
    async def scenario(url):
        limits = httpx2.Limits(max_connections=250)
        async with httpx2.AsyncClient(timeout=120, limits=limits) as client:
            alone, *_ = await stream(client, url, "Once upon a time", 40)
            return alone, await asyncio.gather(
                *(stream(client, url, "Once upon a time", 40) for _ in range(200))
            )

    choices = {"n_parallel": 16, "n_seq_max": 16, "n_outputs_max": 16, "kv_unified": False}
    with live_server(**choices, n_ctx=16 * 512) as live:
        alone, answers = asyncio.run(scenario(live.url))
    assert all(endings == ["done"] for _, _, endings in answers)
    assert all(n_tokens == 40 for _, n_tokens, _ in answers)
    assert {text for text, _, _ in answers} == {alone}


def test_a_worker_killed_mid_stream_sends_an_error_event_and_no_done():
    async def scenario(live):
        async with httpx2.AsyncClient(timeout=60) as client:
            pid, begun = live.engine.pid, [asyncio.Event() for _ in range(6)]
            tasks = [
                asyncio.create_task(stream(client, live.url, "Once", LONG, one.set))
                for one in begun
            ]
            await asyncio.gather(*(one.wait() for one in begun))
            os.kill(pid, signal.SIGKILL)
            endings = [ending for _, _, ending in await asyncio.gather(*tasks)]
            return endings, await stream(client, live.url, "Once", 5)

    with live_server(n_ctx=6 * LONG + 4096, n_ctx_seq=LONG + 256) as live:
        endings, (_, n_tokens, after) = asyncio.run(scenario(live))
    assert endings == [["error"]] * 6
    assert (n_tokens, after) == (5, ["done"])
