"""One box with models, and others that reach nothing but it."""

import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from certificates import AUTHORITY, FOLDER
from cli_runs import DEMO_PATH, PATIENCE_S, Home, wait_for
from mirror_runs import COMMIT, FILE, REPO, Cache, demo, mirroring

pytestmark = pytest.mark.model

KEY = "hf_" + "k" * 34
CATALOG_REPO = "unsloth/Qwen3-0.6B-GGUF"


def cache_of(home):
    return Cache(home.folder / "hf" / "hub")


@pytest.fixture
def gateway(home):
    cache_of(home).add()
    return home


@pytest.fixture
def box(tmp_path_factory, cache):
    """Another machine: it has nothing."""
    return Home(tmp_path_factory.mktemp("box"), cache)


def pulled(box):
    return cache_of(box).place().read_bytes()


def test_a_box_pulls_and_serves_what_the_gateway_has(gateway, box):
    with mirroring(gateway) as mirror:
        assert "edgellm mirror serves 1 model of" in mirror.out
        assert "org/demo-GGUF:Q8_0" in mirror.out
        box.env["HF_ENDPOINT"] = mirror.url
        with box.serving("serve", REPO, "--port", "0") as served:
            assert "demo" in served.get("/v1/models").text
        assert pulled(box) == demo()
        again = box.run("pull", REPO)
        assert (again.code, "up to date" in again.err) == (0, True)
        wait_for(lambda: "MiB in" in "".join(mirror.err))
    assert f"127.0.0.1  {REPO}  {FILE}  3.7 MiB in " in "".join(mirror.err)


def test_a_plan_needs_no_more_than_a_header(gateway, box):
    with mirroring(gateway) as mirror:
        box.env["HF_ENDPOINT"] = mirror.url
        planned, shown = box.run("plan", REPO), box.run("show", REPO)
    assert (planned.code, shown.code) == (0, 0), planned.err + shown.err
    assert "Q8_0" in planned.out
    assert "Q8_0" in shown.out
    assert not (box.folder / "hf" / "hub").exists()


def test_a_name_of_the_catalog_is_what_the_gateway_pulled(gateway, box):
    cache_of(gateway).add("Qwen3-0.6B-Q8_0.gguf", repo=CATALOG_REPO)
    with mirroring(gateway) as mirror:
        done = box.run("pull", "qwen3:0.6b", HF_ENDPOINT=mirror.url)
    assert done.code == 0, done.err
    assert done.out.strip().endswith("Qwen3-0.6B-Q8_0.gguf")


def test_what_the_gateway_lacks_is_told_so(gateway, box):
    with mirroring(gateway) as mirror:
        where = mirror.url.removeprefix("http://")
        none = box.run("pull", "org/none-GGUF", HF_ENDPOINT=mirror.url)
        assert (none.code, where in none.err) == (3, True)
        quant = box.run("pull", f"{REPO}:Q2_K", HF_ENDPOINT=mirror.url)
        assert (quant.code, "it has Q8_0" in quant.err) == (3, True)


def test_a_model_that_comes_meanwhile_is_served(gateway, box):
    with mirroring(gateway) as mirror:
        cache_of(gateway).add("new-Q8_0.gguf", repo="org/new-GGUF")
        done = box.run("pull", "org/new-GGUF", HF_ENDPOINT=mirror.url)
    assert done.code == 0, done.err


def test_a_key_is_the_boxes_token(gateway, box):
    with mirroring(gateway, "--api-key", KEY) as mirror:
        assert "export HF_TOKEN=…" in mirror.out
        assert KEY not in mirror.out
        box.env["HF_ENDPOINT"] = mirror.url
        without = box.run("pull", REPO)
        assert (without.code, "HF_TOKEN" in without.err) == (9, True)
        assert box.run("pull", REPO, HF_TOKEN=KEY).code == 0
    assert pulled(box) == demo()


def test_offline_asks_no_mirror_either(gateway, box):
    with mirroring(gateway) as mirror:
        box.env["HF_ENDPOINT"] = mirror.url
        for refused in (
            box.run("pull", REPO, "--offline"),
            box.run("pull", REPO, HF_HUB_OFFLINE="1"),
        ):
            assert refused.code == 9
            assert "network is forbidden" in refused.err
        assert mirror.end(signal.SIGINT) == 0
    assert mirror.err == []


def test_ctrl_c_breaks_downloads_off_and_says_so(gateway):
    cache = cache_of(gateway)
    cache.add("large-Q8_0.gguf", bytes(64 << 20), repo="org/large-GGUF")
    with mirroring(gateway) as mirror:
        at = f"{mirror.url}/org/large-GGUF/resolve/main/large-Q8_0.gguf"
        with httpx2.stream("GET", at, trust_env=False, timeout=PATIENCE_S) as answer:
            pieces = answer.iter_raw()
            next(pieces)
            assert mirror.end(signal.SIGINT) == 0
    told = "".join(mirror.err)
    assert "1 download is broken off" in told
    assert "broken off at" in told.partition("large-Q8_0.gguf")[2]
    assert "Traceback" not in told
    assert "ASGI" not in told


def test_a_download_goes_on_when_the_mirror_is_back(gateway, box):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    box.env["HF_ENDPOINT"] = f"http://127.0.0.1:{port}"
    with ThreadPoolExecutor(1) as pool:
        with mirroring(gateway, "--port", port, "--limit-rate", "1MiB/s") as mirror:
            pulling = pool.submit(box.run, "pull", REPO)
            wait_for(lambda: any(part.stat().st_size > 200_000 for part in parts_of(box)))
            assert mirror.end(signal.SIGINT) == 0
        with mirroring(gateway, "--port", port) as mirror:
            done = pulling.result()
            wait_for(lambda: "MiB in" in "".join(mirror.err))
    assert done.code == 0, done.err
    assert pulled(box) == demo()
    assert "% on" in "".join(mirror.err)


def parts_of(box):
    return cache_of(box).root.glob("models--*/blobs/*.part")


def test_others_reach_it_with_a_key_or_an_explicit_word(gateway):
    refused = gateway.run("mirror", "--host", "0.0.0.0", "--port", "0")
    assert refused.code == 78
    assert "no API key is set" in refused.err
    with mirroring(gateway, "--host", "0.0.0.0", "--insecure") as mirror:
        port = mirror.url.rpartition(":")[2]
        asked = httpx2.get(f"http://127.0.0.1:{port}/api/models", trust_env=False)
        assert [one["id"] for one in asked.json()] == [REPO]


def test_it_speaks_tls_by_the_settings_of_serve(gateway, box):
    pair = (
        "--ssl-cert-file",
        str(FOLDER / "server.pem"),
        "--ssl-key-file",
        str(FOLDER / "server.key"),
    )
    with mirroring(gateway, *pair, "--api-key", KEY) as mirror:
        assert mirror.url.startswith("https://127.0.0.1:")
        box.env |= {"HF_ENDPOINT": mirror.url, "HF_TOKEN": KEY}
        distrusted = box.run("pull", REPO)
        assert (distrusted.code, "vouches" in distrusted.err) == (9, True)
        done = box.run("pull", REPO, SSL_CERT_FILE=str(AUTHORITY))
    assert done.code == 0, done.err
    assert pulled(box) == demo()


def test_a_taken_port_is_told(gateway):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = gateway.run("mirror", "--port", port)
    assert (refused.code, f"port {port}" in refused.err) == (11, True)


def test_an_empty_cache_is_told_and_served(home, box):
    with mirroring(home) as mirror:
        assert "Nothing is here yet" in mirror.out
        assert box.run("pull", REPO, HF_ENDPOINT=mirror.url).code == 3
        cache_of(home).add(data=DEMO_PATH.read_bytes())
        assert box.run("pull", REPO, HF_ENDPOINT=mirror.url).code == 0
    assert cache_of(box).place(commit=COMMIT).exists()


@pytest.mark.parametrize("rate", ["fast", "-5MiB/s", "0"])
def test_a_rate_that_is_none_is_refused(gateway, rate):
    refused = gateway.run("mirror", "--port", "0", "--limit-rate", rate)
    assert refused.code == 2, refused.err
