"""A card that falls off its bus under an answer: a real server and its worker, on a machine whose
card is a folder of files. llama.cpp computes on the processor in its place, until it is gone."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections import Counter
from dataclasses import replace

import httpx2
import pytest
from probe_fakes import CAPTURES
from server.watch.test_webhook import listener

from edgellm.cli.preparing import machine
from edgellm.cli.preparing.prepare import prepare
from edgellm.cli.preparing.resolve import demo
from edgellm.cli.serving.serving import Instance, run_instance
from edgellm.config import Config
from edgellm.probe.hardware import Device, MemoryPool
from edgellm.selector.plan import Goal
from edgellm.units import GIB

pytestmark = [pytest.mark.model, pytest.mark.slow]
CARD = "0000:04:00.0"


@pytest.fixture
def home(monkeypatch, tmp_path):
    for name in ("RUNTIME_DIR", "CONFIG_HOME", "CACHE_HOME", "STATE_HOME"):
        monkeypatch.setenv(f"XDG_{name}", str(tmp_path / name))
        (tmp_path / name).mkdir(mode=0o700)
    root = tmp_path / "root"
    shutil.copytree(CAPTURES / "rx7800xt" / "files", root, symlinks=True)
    return root


def with_the_card(host):
    card = Device(CARD, "amd", "RX 7800 XT", "rocm", CARD, ggml_name="ROCm0")
    pool = MemoryPool(CARD, "dedicated", 16 * GIB, 15 * GIB, 624e9)
    return replace(host, devices=(card, *host.devices), pools=(pool, *host.pools))


class Server:
    """The whole of `edgellm serve`, in this loop."""

    def __init__(self, root, webhook):
        hardware = with_the_card(machine.look())
        prepared = prepare(demo(), hardware, Goal(n_parallel=1), uses_tuned=False)
        assert prepared.plan.devices == ("ROCm0",)
        self._planned, self.said, self.states, self.gauged = prepared.plan, [], Counter(), set()
        self._ready = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(
            run_instance(
                Instance(
                    Config(port=0, sensors_root=str(root), health_webhook=webhook),
                    hardware,
                    [replace(prepared, plan=replace(prepared.plan, devices=()))],
                    is_announced=False,
                    say=self.said.append,
                    on_ready=lambda url, models: self._ready.set_result((url, models)),
                )
            )
        )

    async def ready(self):
        """From here on its worker could only be started where llama.cpp finds the card."""
        done, _ = await asyncio.wait(
            {self._task, self._ready}, return_when=asyncio.FIRST_COMPLETED, timeout=60
        )
        if self._task in done:
            self._task.result()
        url, models = self._ready.result()
        (served,) = models
        served.engine.plan = self._planned
        self.http = httpx2.AsyncClient(base_url=url, trust_env=False, timeout=60)

    async def model(self):
        (model,) = (await self.http.get("/edgellm/status")).json()["models"]
        self.states[model["health"]["state"], model["health"]["cause"]] += 1
        text = (await self.http.get("/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith("edgellm_model_health{")]
        self.gauged.update(line.rpartition(" ")[2] for line in lines)
        return model

    async def until(self, is_so, limit_s=60.0):
        async with asyncio.timeout(limit_s):
            while not is_so(model := await self.model()):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)
        return model

    async def until_sampled(self):
        """The card, once at least: one of which nobody has heard is not missed."""
        async with asyncio.timeout(60):
            while not await self._is_sampled():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)

    async def _is_sampled(self):
        status = (await self.http.get("/edgellm/status")).json()
        (card,) = (one for one in status["devices"] if one["id"] == CARD)
        return card["used_bytes"] is not None

    async def answer(self, n_tokens, on_line=lambda: None):
        """The lines of a stream."""
        body = {"prompt": "Once", "max_tokens": n_tokens, "ignore_eos": True, "stream": True}
        lines = []
        async with self.http.stream("POST", "/v1/completions", json=body) as told:
            async for line in told.aiter_lines():
                on_line()
                lines += [line] if line else []
        return lines

    async def caught_answering(self, pid):
        """A stream whose worker is held at its first word: the rest may take the demo 0.2 s."""
        async with asyncio.timeout(60):
            while True:
                has_begun = asyncio.Event()
                answer = asyncio.create_task(self.answer(400, has_begun.set))
                await has_begun.wait()
                os.kill(pid, signal.SIGSTOP)
                done, _ = await asyncio.wait({answer}, timeout=0.5)
                if not done:
                    return answer
                os.kill(pid, signal.SIGCONT)

    async def stop(self):
        await self.http.aclose()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


def pull_out(root):
    """As the kernel does: the links first, so that nobody sees half a card."""
    shutil.rmtree(root / "sys/class/drm/card1")
    for folder in (*root.glob(f"sys/bus/pci/devices/{CARD}"), *root.rglob(CARD)):
        shutil.rmtree(folder, ignore_errors=True)


def test_a_card_that_falls_off_its_bus_is_named_lost_and_the_model_goes_on_without_it(home):
    async def scenario(webhook, heard):
        server = Server(home, webhook)
        await server.ready()
        before = await server.until(lambda model: model["health"]["state"] == "ok")
        await server.until_sampled()
        cut = await server.caught_answering(before["pid"])
        pull_out(home)
        os.kill(before["pid"], signal.SIGKILL)  # what a driver's abort does to it
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await server.until(lambda model: model["health"]["cause"] == "lost_device")
        named_s = loop.time() - began_s
        after = await server.until(lambda model: model["state"] == "ready")
        lines, whole = await cut, await server.answer(8)
        await server.until(lambda model: len(heard) == 2)
        status = (await server.http.get("/edgellm/status")).json()
        await server.stop()
        return server, named_s, before, after, lines, whole, status

    with listener(204) as (webhook, heard):
        server, named_s, before, after, cut, whole, status = asyncio.run(scenario(webhook, heard))

    assert named_s < 30
    assert [share["device_id"] for share in before["plan"]["shares"]] == [CARD, "cpu"]
    assert [share["device_id"] for share in after["plan"]["shares"]] == ["cpu"]
    assert set(server.states) == {("ok", None), ("lost", "lost_device")}
    assert server.gauged >= {"0.0", "2.0"}
    assert [(body["state"], body["cause"]) for _, body in heard] == [
        ("lost", "lost_device"),
        ("ok", None),
    ]
    told = "\n".join(server.said)
    assert f"is lost (lost_device): {CARD} no longer answers" in told
    assert f"{CARD} is lost: it is planned on what is left" in told
    assert "it is served again" in told
    assert any("lost_device" in line for line in status["log"]), "the screen's log has it, too"
    assert "error" in cut[-1], "who was under way was told"
    assert whole[-1] == "data: [DONE]"
