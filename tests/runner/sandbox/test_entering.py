"""Real workers in their sandbox, with all that a model may bring."""

import asyncio
import os
from pathlib import Path

import pytest
from real_model import SHARED_MODELS, demo_path, needs_shared_models, plan
from supervisor_runs import collect, greedy, reaching, supervise
from worker_lives import life

from edgellm.errors import BadGGUF, ConfigError
from edgellm.runner.sandbox import landlock
from edgellm.runner.sandbox.rules import Wish

pytestmark = pytest.mark.model

ABI = landlock.abi() or None
needs_landlock = pytest.mark.skipif(not ABI, reason="this kernel has no Landlock")
STORIES = SHARED_MODELS / "stories260K-f16.gguf"
LORA = SHARED_MODELS / "stories260K-lora-random.gguf"


async def told(engine):
    """Which sandbox it has, and that it answers."""
    _, ending = await collect(engine, "Once", greedy(8))
    assert ending.n_output == 8
    return engine.ready.landlock


def rights(pid):
    """Of each thread, whether it may gain new ones."""
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        yield status.read_text().partition("NoNewPrivs:")[2].split()[0]


@needs_landlock
def test_all_threads_of_a_worker_are_in_its_sandbox():
    async def scenario(engine):
        found = await told(engine)
        return found, {*rights(engine.pid)}

    assert supervise(scenario) == (ABI, {"1"})


def test_it_answers_the_same_with_and_without():
    async def scenario(engine):
        return engine.ready.landlock, (await collect(engine, "Once", greedy(24)))[0]

    (inside, one), (outside, other) = (
        supervise(scenario, sandbox=Wish(mode)) for mode in ("auto", "off")
    )
    assert (inside, outside) == (ABI, None)
    assert one == other


@needs_landlock
def test_a_model_behind_a_link_in_a_relative_place_is_found(tmp_path, monkeypatch):
    """As Hugging Face's cache has it: snapshots/<commit>/name -> ../../blobs/<sha>."""
    blob = tmp_path / "blobs" / "abc"
    blob.parent.mkdir()
    blob.write_bytes(demo_path().read_bytes())
    link = tmp_path / "snapshots" / "def" / "model.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../blobs/abc")
    monkeypatch.chdir(tmp_path)
    assert supervise(told, path="snapshots/def/model.gguf", sandbox=Wish("on")) == ABI


@needs_landlock
def test_a_file_that_is_replaced_is_found_by_the_next_worker(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(demo_path().read_bytes())

    async def scenario(engine):
        (tmp_path / "new").write_bytes(demo_path().read_bytes())
        (tmp_path / "new").replace(path)
        first = await told(engine)
        os.kill(engine.pid, 9)
        while engine.n_restarts == 0:
            await collect_quietly(engine)
        return first, await told(engine)

    assert supervise(scenario, path=path) == (ABI, ABI)


async def collect_quietly(engine):
    async for _ in engine.generate("Once", greedy(1)):
        pass


@needs_landlock
def test_past_conversations_are_written_where_they_are_kept_and_read_again(tmp_path):
    folder = tmp_path / "not" / "yet"
    keeps = {"prefix_ram_bytes": 1 << 28, "prefix_disk": str(folder), "prefix_disk_bytes": 1 << 28}
    shape = {"n_parallel": 1, "n_seq_max": 2, "n_outputs_max": 2, "n_ctx": 1024, "n_ctx_seq": 1024}

    def again():
        prompts = [tuple(300 + i * i % 150 for i in range(500))]
        ((_, end),), gauge = asyncio.run(
            life(demo_path(), plan(**keeps, **shape), prompts, "prefix_ram_bytes")
        )
        return end.n_cached, gauge.prefix_disk_bytes > 0

    assert again() == (0, True)
    assert again() == (499, True)
    assert (folder / "key").is_file()


@needs_shared_models
@needs_landlock
@pytest.mark.parametrize(
    ("model", "choices"),
    [
        ("stories260K-pad-split-f16-00001-of-00003.gguf", {}),
        ("stories260K-pad-f16.gguf", {"projector": "stories260K-pad-mmproj-random-f16.gguf"}),
        ("stories260K-f16.gguf", {"draft": "stories260K-q4_0.gguf", "speculate": "draft"}),
        (
            "stories260K-f16.gguf",
            {"draft": "stories260K-pad-split-f16-00001-of-00003.gguf", "speculate": "draft"},
        ),
    ],
    ids=["parts", "projector", "draft", "draft of parts"],
)
def test_what_belongs_to_a_model_is_loaded(model, choices):
    files = {k: str(SHARED_MODELS / v) for k, v in choices.items() if v.endswith(".gguf")}
    choices = {**choices, **files}
    assert supervise(told, path=SHARED_MODELS / model, sandbox=Wish("on"), **choices) == ABI


@needs_shared_models
@needs_landlock
def test_an_adapter_comes_from_the_folder_that_is_open_and_from_no_other(tmp_path):
    inside = tmp_path / "open" / "style.gguf"
    inside.parent.mkdir()
    inside.write_bytes(LORA.read_bytes())

    async def scenario(engine):
        await engine.load_adapter("style", inside)
        with pytest.raises(BadGGUF, match="Permission denied"):
            await engine.load_adapter("other", LORA)
        return await told(engine)

    assert supervise(scenario, path=STORIES, sandbox=reaching(inside.parent)) == ABI


# It stands before the real one, reads a file that no rule knows, and gives way to it.
FAR_AWAY = """
import sys
from pathlib import Path
Path({file!r}).read_text()
sys.path.remove({folder!r})
del sys.modules["llguidance"]
import llguidance
"""


@needs_landlock
def test_where_a_library_needs_what_no_rule_knows_the_model_is_served_without(
    tmp_path, monkeypatch
):
    """Unless the sandbox is insisted on: then it isn't served."""
    library, file = tmp_path / "library", tmp_path / "file"
    library.mkdir()
    file.write_text("words")
    shim = FAR_AWAY.format(file=str(file), folder=str(library))
    (library / "llguidance.py").write_text(shim)
    monkeypatch.setenv("PYTHONPATH", str(library))

    async def scenario(engine):
        return await told(engine), "\n".join(engine.log)

    found, log = supervise(scenario)
    assert found is None
    assert "served without a sandbox: " in log
    with pytest.raises(ConfigError, match=f"insisted on: .*{file}"):
        supervise(told, sandbox=Wish("on"))


@pytest.mark.skipif(bool(ABI), reason="this kernel has Landlock")
def test_without_landlock_it_is_served_unless_the_sandbox_is_insisted_on():
    assert supervise(told) is None
    with pytest.raises(ConfigError, match="insisted on"):
        supervise(told, sandbox=Wish("on"))
