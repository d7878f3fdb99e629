"""A model's journey to a machine without network: real processes, real models, served there."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from bundle_runs import filled
from cli_runs import DEMO_PATH, EDGELLM, SHARED_MODELS, Home, needs_shared_models, wait_for

from edgellm.models.bundles.layout import MANIFEST

REPO, NAME = "org/demo-GGUF", "hf.co/org/demo-GGUF:Q8_0"


@pytest.fixture
def there(tmp_path_factory, cache) -> Home:
    """The other machine."""
    return Home(tmp_path_factory.mktemp("there"), cache)


def answer(live) -> str:
    body = {"model": "", "prompt": "Once", "max_tokens": 8, "temperature": 0}
    import httpx2

    url = f"{live.url}/v1/completions"
    told = httpx2.post(url, json=body, trust_env=False, timeout=60).json()
    return told["choices"][0]["text"]


@pytest.mark.model
def test_a_model_is_exported_imported_and_served_offline(home: Home, there: Home):
    filled(home.folder / "hf" / "hub", {"m-Q8_0.gguf": DEMO_PATH.read_bytes()}, repo=REPO)
    done = home.run("export", REPO, "-o", "stick")
    assert done.code == 0, done.err
    done = there.run("import", str(home.folder / "stick"))
    assert done.code == 0, done.err
    with (
        home.serving("serve", REPO, "--port", "0") as ours,
        there.serving("serve", REPO, "--offline", "--port", "0") as theirs,
    ):
        assert answer(theirs) == answer(ours) != ""


@pytest.mark.model
@needs_shared_models
def test_a_split_model_with_its_projector_goes_through_a_pipe(home: Home, there: Home):
    files = {
        f"f16/pad-f16-{n:05}-of-00003.gguf": (
            SHARED_MODELS / f"stories260K-pad-split-f16-{n:05}-of-00003.gguf"
        ).read_bytes()
        for n in (1, 2, 3)
    }
    eyes = (SHARED_MODELS / "stories260K-pad-mmproj-random-f16.gguf").read_bytes()
    filled(home.folder / "hf" / "hub", files | {"mmproj-F16.gguf": eyes}, repo="org/split-GGUF")
    sending = subprocess.Popen(
        (*EDGELLM, "export", "org/split-GGUF", "-o", "-"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=home.env, cwd=home.folder,
    )  # fmt: skip
    done = subprocess.run(
        (*EDGELLM, "import", "-"),
        stdin=sending.stdout, capture_output=True, text=True, env=there.env, cwd=there.folder,
        timeout=120,
    )  # fmt: skip
    _, said = sending.communicate(timeout=60)
    assert (sending.returncode, done.returncode) == (0, 0), said.decode() + done.stderr
    first = Path(done.stdout.strip())
    assert (first.parents[1] / "mmproj-F16.gguf").read_bytes() == eyes
    with there.serving("serve", "org/split-GGUF", "--offline", "--port", "0") as live:
        assert answer(live)


def test_ctrl_c_says_how_the_export_goes_on_and_it_does(home: Home, there: Home):
    hub = home.folder / "hf" / "hub"
    filled(hub, {"m-Q8_0.gguf": DEMO_PATH.read_bytes()}, repo="org/a-GGUF")
    filled(hub, {"m-Q8_0.gguf": DEMO_PATH.read_bytes() + bytes(32)}, repo="org/b-GGUF")
    stick = home.folder / "stick"
    process = subprocess.Popen(
        (*EDGELLM, "export", "org/a-GGUF", "org/b-GGUF", "-o", str(stick)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=home.env, cwd=home.folder,
    )  # fmt: skip
    wait_for(lambda: process.poll() is not None or [*stick.rglob("*.gguf")])
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    if (stick / MANIFEST).exists():  # it was quicker than we are
        assert home.run("verify", str(stick)).code == 0
    else:
        assert process.returncode == 130
    done = home.run("export", "org/a-GGUF", "org/b-GGUF", "-o", str(stick))
    assert done.code == 0, done.err
    assert there.run("import", str(stick)).code == 0
    assert there.run("verify").code == 0
    assert there.run("list").out.count("hf.co/org/") == 2


def test_a_stick_that_was_filled_by_a_killed_import_serves_nobody(home: Home, there: Home):
    filled(home.folder / "hf" / "hub", {"m-Q8_0.gguf": DEMO_PATH.read_bytes()}, repo=REPO)
    assert home.run("export", REPO, "-o", "m.tar").code == 0
    tar = home.folder / "m.tar"
    os.truncate(tar, tar.stat().st_size - 100_000)
    done = there.run("import", str(tar))
    assert done.code == 4
    assert "was it copied whole?" in done.err
    with tar.open("rb") as piped:
        done = subprocess.run(
            (*EDGELLM, "import", "-"), stdin=piped, capture_output=True, text=True, timeout=60,
            env=there.env,
        )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (4, False)
    (line,) = [one for one in there.run("list").out.splitlines() if one.startswith(NAME)]
    assert "not whole" in line
