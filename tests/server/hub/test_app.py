"""The hub over a real socket, with real clients."""

import hashlib
import os
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from cli_runs import wait_for
from mirror_runs import COMMIT, FILE, PATIENCE_S, REPO, Cache, demo, live_hub, sha256
from server.hub.test_asked import HOSTILE_FILES, HOSTILE_REPOS

from edgellm.server.door.access import Access
from edgellm.server.hub.sending import RateLimit

AT = f"/{REPO}/resolve/main/{FILE}"
SECRET = b"root:x:0:0:secret"
LARGE = random.Random(5).randbytes(1 << 20) * 24  # more than sockets hold
LARGE_AT = "/org/large-GGUF/resolve/main/large-Q8_0.gguf"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    root = tmp_path_factory.mktemp("gateway")
    (root / "passwd").write_bytes(SECRET)
    cache = Cache(root / "hub")
    cache.add()
    cache.add("large-Q8_0.gguf", LARGE, repo="org/large-GGUF")
    cache.place("leak.gguf").symlink_to(root / "passwd")
    return cache


@pytest.fixture(scope="module")
def live(cache):
    with live_hub(cache) as live:
        yield live


@pytest.fixture
def http(live):
    with live.client() as http:
        yield http


def raw(live, target, method="GET"):
    """A request as no client would write it: its answer, whole."""
    port = int(live.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock:
        head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        sock.sendall(head.encode("latin-1"))
        answer = b""
        while piece := sock.recv(1 << 16):
            answer += piece
    return answer


def status(answer):
    return int(answer.split(b" ", 2)[1])


def test_a_file_is_told_of_as_the_hub_does(http):
    head = http.head(AT)
    digest = f'"{sha256(demo())}"'
    wanted = {
        "content-length": str(len(demo())), "etag": digest, "x-linked-etag": digest,
        "x-linked-size": str(len(demo())), "x-repo-commit": COMMIT, "accept-ranges": "bytes",
    }  # fmt: skip
    assert head.status_code == 200
    assert head.content == b""
    assert wanted.items() <= head.headers.items()
    assert http.get(AT).content == demo()


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-9", slice(0, 10)), ("bytes=100-", slice(100, None)),
        ("bytes=-7", slice(-7, None)), ("bytes=3909631-99999999", slice(-1, None)),
    ],
)  # fmt: skip
def test_a_part_is_sent_alone(http, wanted, part):
    answer = http.get(AT, headers={"Range": wanted})
    assert answer.status_code == 206
    assert answer.content == demo()[part]
    start, stop, _ = part.indices(len(demo()))
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(demo())}"


@pytest.mark.parametrize("wanted", ["bytes=0-1,4-5", "bytes=9-1", "bytes=x-y", "pages=1-2", ","])
def test_what_is_no_single_range_gets_the_file(http, wanted):
    answer = http.get(AT, headers={"Range": wanted})
    assert (answer.status_code, len(answer.content)) == (200, len(demo()))


def test_behind_the_end_there_is_nothing(http):
    answer = http.get(AT, headers={"Range": "bytes=3909632-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(demo())}"


def test_a_part_of_another_content_is_not_sent(http):
    """If-Range: who has begun with an older file gets the new one whole."""
    part = {"Range": "bytes=5-9"}
    assert http.get(AT, headers={**part, "If-Range": '"older"'}).status_code == 200
    same = {**part, "If-Range": f'"{sha256(demo())}"'}
    assert http.get(AT, headers=same).content == demo()[5:10]


def test_an_empty_file_is_one(cache, http):
    cache.add("empty.txt", b"", by_git=True)
    answer = http.get(f"/{REPO}/resolve/main/empty.txt")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("path", HOSTILE_FILES)
def test_no_path_leads_out_of_the_cache(live, path):
    for target in (f"/{REPO}/resolve/main/{path}", f"/{REPO}/raw/{path}/x", f"/{path}"):
        answer = raw(live, target)
        assert status(answer) in (400, 404) or target.strip("/") == "", answer
        assert SECRET not in answer


@pytest.mark.parametrize("repo", HOSTILE_REPOS)
def test_no_repository_leads_out_of_the_cache(live, repo):
    for target in (f"/{repo}/resolve/main/passwd", f"/api/models/{repo}"):
        answer = raw(live, target)
        assert status(answer) in (400, 404), answer
        assert SECRET not in answer


def test_a_link_out_of_the_cache_is_not_followed(http):
    answer = http.get(f"/{REPO}/resolve/main/leak.gguf")
    assert answer.status_code == 404
    listed = http.get(f"/api/models/{REPO}", params={"blobs": True}).json()["siblings"]
    assert "leak.gguf" not in [one["rfilename"] for one in listed]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/org/none/resolve/main/a", "RepoNotFound"), ("/api/models/org/none", "RepoNotFound"),
        ("/api/models/org/none/refs", "RepoNotFound"),
        (f"/{REPO}/resolve/v9/{FILE}", "RevisionNotFound"),
        (f"/api/models/{REPO}/tree/v9", "RevisionNotFound"),
        (f"/{REPO}/resolve/main/none.gguf", "EntryNotFound"),
        (f"/api/models/{REPO}/tree/main/none", "EntryNotFound"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_in_the_hubs_words(http, path, code):
    for method in ("GET", "HEAD"):
        answer = http.request(method, path)
        assert answer.status_code == 404
        assert answer.headers["x-error-code"] == code
    assert http.get(path).json()["error"] == answer.headers["x-error-message"]


def test_a_missing_file_tells_its_commit(http):
    """So that clients know which commit lacks it."""
    assert http.head(f"/{REPO}/resolve/main/none.gguf").headers["x-repo-commit"] == COMMIT


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_is_read_only(http, method):
    assert http.request(method, AT).status_code == 405
    assert http.get(AT).status_code == 200


def test_a_form_that_is_too_large_is_refused(http):
    answer = http.post(f"/api/models/{REPO}/paths-info/main", data={"paths": ["x" * 99] * 1000})
    assert answer.status_code == 413


def test_a_person_is_told_what_is_here(live, http):
    page = http.get("/").text
    assert f"export HF_ENDPOINT={live.url}" in page
    assert "org/demo-GGUF:Q8_0 3.7 MiB" in " ".join(page.split())
    assert "HF_TOKEN" not in page
    assert http.get("/health").json() == {"status": "ok"}


def test_before_2026_llama_cpp_asked_for_a_manifest(cache, http):
    answer = http.get(f"/v2/{REPO}/manifests/latest").json()
    assert answer["ggufFile"]["rfilename"] == FILE
    assert http.get(f"/v2/{REPO}/manifests/q8_0").json() == answer
    missing = http.get(f"/v2/{REPO}/manifests/Q2_K")
    assert missing.status_code == 404
    assert "Q8_0" in missing.json()["error"]


def test_a_key_opens_it(cache):
    with live_hub(cache, Access.of(keys=["hf_secret"])) as live, live.client() as http:
        for path in (AT, "/", "/api/models", f"/api/models/{REPO}"):
            assert http.get(path).status_code == 401
            wrong = {"Authorization": "Bearer hf_other"}
            assert http.get(path, headers=wrong).status_code == 401
            assert "API key" in http.get(path, headers=wrong).json()["error"]
            right = {"Authorization": "Bearer hf_secret"}
            assert http.get(path, headers=right).status_code == 200
        assert http.head(AT).status_code == 401
        assert http.get("/health").status_code == 200
        page = http.get("/", headers=right).text
        assert "export HF_TOKEN=…" in page
        assert "hf_secret" not in page
        assert len(live.refused) == 13


def test_a_web_page_reads_nothing_here(http):
    """By DNS rebinding the Host is the attacker's; a page's own requests have an Origin."""
    assert http.get("/", headers={"Host": "evil.example:8485"}).status_code == 403
    assert http.get(AT, headers={"Origin": "http://evil.example"}).status_code == 403


def test_many_clients_are_served_at_once(live):
    before = len(live.ended)

    def fetch(_):
        hasher = hashlib.sha256()
        with live.client() as http, http.stream("GET", LARGE_AT) as answer:
            for piece in answer.iter_raw():
                hasher.update(piece)
        return hasher.hexdigest()

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(fetch, range(12))) == {sha256(LARGE)}
    ended = live.ended_after(before + 12)[before:]
    assert all(one.is_whole and one.sent_bytes == len(LARGE) for one in ended)
    assert {(one.client, one.repo, one.path) for one in ended} == {
        ("127.0.0.1", "org/large-GGUF", "large-Q8_0.gguf")
    }


def test_a_look_at_a_part_is_no_download(live, http):
    before = len(live.ended)
    http.get(LARGE_AT, headers={"Range": "bytes=0-65535"})
    http.head(LARGE_AT)
    http.get(LARGE_AT, headers={"Range": f"bytes={len(LARGE) - 10}-"})
    (told,) = live.ended_after(before + 1)[before:]
    assert (told.start, told.sent_bytes, told.is_whole) == (len(LARGE) - 10, 10, True)


def test_a_file_that_is_removed_while_it_is_sent_arrives_whole(tmp_path):
    cache = Cache(tmp_path)
    place = cache.add("large-Q8_0.gguf", LARGE, repo="org/large-GGUF")
    with live_hub(cache) as live, live.client() as http:
        with http.stream("GET", LARGE_AT) as answer:
            pieces = answer.iter_raw()
            came = bytearray(next(pieces))
            place.resolve().unlink()
            place.unlink()
            for piece in pieces:
                came += piece
        assert sha256(bytes(came)) == sha256(LARGE)
        assert http.get(LARGE_AT).status_code == 404


def test_a_file_that_becomes_shorter_breaks_off(tmp_path):
    """The client can tell: fewer bytes come than were announced."""
    cache = Cache(tmp_path)
    place = cache.add("large-Q8_0.gguf", LARGE, repo="org/large-GGUF")
    with live_hub(cache) as live, live.client() as http:
        with http.stream("GET", LARGE_AT) as answer:
            pieces = answer.iter_raw()
            next(pieces)
            os.truncate(place.resolve(), 1000)
            with pytest.raises(httpx2.RemoteProtocolError):
                for _ in pieces:
                    pass
        (told,) = live.ended_after(1)
        assert not told.is_whole
        assert http.get("/health").status_code == 200


def open_handles(name):
    """How many of this process's are that file's."""
    handles = Path("/proc/self/fd").iterdir()
    return sum(one.exists() and str(one.readlink()).endswith(name) for one in handles)


def test_who_leaves_early_leaves_nothing_behind(live):
    before, blob = len(live.ended), sha256(LARGE)
    for _ in range(5):
        with live.client() as http, http.stream("GET", LARGE_AT) as answer:
            next(answer.iter_raw())
    ended = live.ended_after(before + 5)[before:]
    assert all(not one.is_whole and one.sent_bytes < len(LARGE) for one in ended)
    if Path("/proc/self/fd").is_dir():
        wait_for(lambda: open_handles(blob) == 0)


def test_a_stop_breaks_downloads_off(cache):
    """At once, not when the last client has its 40 GB."""
    with live_hub(cache) as live, live.client() as http:
        with http.stream("GET", LARGE_AT) as answer:
            pieces = answer.iter_raw()
            next(pieces)
            stopping = threading.Thread(target=live.stop)
            stopping.start()
            stopping.join(PATIENCE_S)
            with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
                for _ in pieces:
                    pass
        live.stop = lambda: None


def test_all_clients_together_keep_the_limit():
    limit = RateLimit(100.0)
    assert limit.delay_s(50, now_s=10.0) == 0.0
    assert limit.delay_s(50, now_s=10.0) == pytest.approx(0.5)
    assert limit.delay_s(100, now_s=10.5) == pytest.approx(0.5)
    assert limit.delay_s(10, now_s=100.0) == 0.0
    assert RateLimit().delay_s(1 << 40, now_s=0.0) == 0.0


@pytest.mark.parametrize(
    ("bytes_per_s", "piece"),
    [(None, 512 << 10), (1 << 30, 512 << 10), (1 << 20, 32 << 10), (9, 4096)],
)
def test_where_little_goes_out_it_goes_in_small_pieces(bytes_per_s, piece):
    """Or a hundred clients would each hear nothing for so long that they gave up."""
    assert RateLimit(bytes_per_s).piece_bytes == piece


def test_a_limit_changes_no_byte(cache):
    with live_hub(cache, limit=RateLimit(1 << 24)) as live, live.client() as http:
        assert http.get(AT).content == demo()
