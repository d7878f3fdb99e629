import pytest

from edgellm.server.envelope import HTTPProblem
from edgellm.server.hub.asked import (
    Content,
    Health,
    Info,
    Manifest,
    Named,
    Page,
    Refs,
    Search,
    Tree,
    asked,
    named_paths,
)
from edgellm.server.hub.told import NotHere

REPO = "org/repo-GGUF"
# In a repository that is there: each names something outside of it, or nothing that can be.
HOSTILE_FILES = [
    "..", "../..", "../../../../etc/passwd", "a/../../b", "./a", "a/.", "a/./b", "a/..", "...",
    "%2e%2e", "%2e%2e/%2e%2e/etc/passwd", "%2e%2e%2fetc%2fpasswd", "..%2f..%2fetc", "a%2f..%2f..",
    "%252e%252e/..", "%2fetc%2fpasswd", "/etc/passwd", "//etc/passwd", "a//b", "a%00b", "%00",
    "a%00.gguf", "a%0ab", "a%0d%0aX: y", "a%7f", "a%1b[2J", "..%5c..%5cetc", "a%5cb", "c:%5cx",
    "c:x", "a*b", "a%3fb", "a%22b", "a%3cb", "a%7cb", "con", "nul.gguf", "COM1", "a.", "a%20",
    "x" * 256, "%e2%80%ae", "%c2%a0", "%e2%80%8b.gguf",
]  # fmt: skip
HOSTILE_REPOS = [
    "../etc", "..%2fetc/x", "org/..", "org/%2e%2e", "./repo", "org/a--b", "a--b/c", "org%2fx/y",
    "org/re%00po", "org/re po", "org/a%2fb", "-org/x", "org/.x", "org/x%0a", "org/" + "x" * 97,
    "org/rep%C3%B6", "~root/x", "org\\x/y", "org/a..b",
]  # fmt: skip


def get(path, query=""):
    return asked("GET", path.encode("latin-1"), query.encode())


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/", Page()), ("", Page()), ("//", Page()), ("/health", Health()),
        ("/org/repo-GGUF/resolve/main/a.gguf", Content(REPO, "main", "a.gguf")),
        ("//org/repo-GGUF/resolve/main/Q4/a.gguf", Content(REPO, "main", "Q4/a.gguf")),
        ("/org/repo-GGUF/resolve/main/Q4%2Fa.gguf", Content(REPO, "main", "Q4/a.gguf")),
        ("/org/repo-GGUF/resolve/main/a%20b+c.gguf", Content(REPO, "main", "a b+c.gguf")),
        ("/org/repo-GGUF/resolve/refs%2Fpr%2F3/a", Content(REPO, "refs/pr/3", "a")),
        ("/org/repo-GGUF/raw/main/README.md", Content(REPO, "main", "README.md")),
        ("/api/models/org/repo-GGUF", Info(REPO)),
        ("/api/models/org/repo-GGUF/", Info(REPO)),
        ("/api/models/org/repo-GGUF/revision/v1%2E0", Info(REPO, "v1.0")),
        ("/api/models/org/repo-GGUF/tree/main", Tree(REPO, "main")),
        ("/api/models/org/repo-GGUF/tree/main/a/b", Tree(REPO, "main", "a/b")),
        ("/api/models/org/repo-GGUF/refs", Refs(REPO)),
        ("/v2/org/repo-GGUF/manifests/latest", Manifest(REPO)),
        ("/v2/org/repo-GGUF/manifests/Q4_K_M", Manifest(REPO, "Q4_K_M")),
    ],
)  # fmt: skip
def test_a_path_says_what_is_wanted(path, wanted):
    assert get(path) == wanted


def test_a_query_says_more():
    tree = get("/api/models/org/repo-GGUF/tree/main", "recursive=True&expand=False")
    assert tree == Tree(REPO, "main", is_recursive=True)
    found = get("/api/models", "search=qwen&author=org&filter=gguf&filter=x&limit=5&full=True")
    assert found == Search("qwen", "org", ("gguf", "x"), 5)
    assert get("/api/models", "limit=-1&search=%ff%fe").limit == Search().limit
    assert get("/api/models", f"limit={'9' * 5000}").limit == Search().limit


@pytest.mark.parametrize(
    ("search", "finds"),
    [
        (Search(), True), (Search("REPO"), True), (Search("other"), False),
        (Search(author="Org"), True), (Search(author="or"), False),
        (Search(tags=("gguf",)), True), (Search(tags=("gguf", "mlx")), False),
    ],
)  # fmt: skip
def test_a_search_finds(search, finds):
    assert search.finds(REPO, ("gguf",)) is finds


@pytest.mark.parametrize("path", HOSTILE_FILES)
def test_a_file_that_can_not_be_is_not_there(path):
    with pytest.raises(NotHere) as raised:
        get(f"/{REPO}/resolve/main/{path}")
    assert raised.value.code == "EntryNotFound"


@pytest.mark.parametrize("path", HOSTILE_FILES)
def test_a_folder_that_can_not_be_is_not_there(path):
    if not path.strip("/"):
        return
    with pytest.raises(NotHere):
        get(f"/api/models/{REPO}/tree/main/{path}")


@pytest.mark.parametrize(
    "revision", ["..", "%2e%2e", "..%2f..%2fHEAD", "a%00", "a%2f..%2fb", "%0a"]
)
def test_a_revision_that_can_not_be_is_not_there(revision):
    for path in (f"/{REPO}/resolve/{revision}/a", f"/api/models/{REPO}/revision/{revision}"):
        with pytest.raises(NotHere) as raised:
            get(path)
        assert raised.value.code == "RevisionNotFound"


@pytest.mark.parametrize("repo", HOSTILE_REPOS)
def test_a_repository_that_can_not_be_is_not_there(repo):
    for path in (f"/{repo}/resolve/main/a", f"/api/models/{repo}/refs", f"/v2/{repo}/manifests/x"):
        with pytest.raises(HTTPProblem) as raised:
            get(path)
        assert raised.value.http_status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/org", "/org/repo", "/org/repo/resolve", "/org/repo/resolve/main", "/api",
        "/api/datasets/a/b",
        "/datasets/org/repo/resolve/main/a", "/api/whoami-v2", "/api/models/org/repo/commits/main",
        "/api/models/gpt2", "/etc/passwd", "/%ff%fe", "http://box/org/repo/resolve/main/a",
        "/org/repo/blob/main/a", "/spaces/org/repo/resolve/main/a", "/v2/", "/\xff",
    ],
)  # fmt: skip
def test_what_this_hub_does_not_tell_is_404(path):
    with pytest.raises(HTTPProblem) as raised:
        get(path)
    assert raised.value.http_status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_here_can_be_changed(method):
    with pytest.raises(HTTPProblem) as raised:
        asked(method, b"/org/repo/resolve/main/a", b"")
    assert raised.value.http_status == 405


def test_paths_are_asked_for_by_a_form():
    path = b"/api/models/org/repo-GGUF/paths-info/main"
    assert asked("POST", path, b"") == Named(REPO, "main")
    with pytest.raises(HTTPProblem):
        asked("GET", path, b"")
    assert named_paths(b"paths=a%2Fb.gguf&paths=..%2Fc&expand=False") == ("a/b.gguf", "../c")
    assert named_paths(b"\xff\xfe") == ()
