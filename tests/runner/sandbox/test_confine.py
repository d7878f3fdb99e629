"""Real processes, bound by the kernel, that try what they may not."""

import json
import platform
import subprocess
import sys
import textwrap

import pytest

from edgellm.runner.sandbox import landlock

ABI = landlock.abi()
needs_landlock = pytest.mark.skipif(not ABI, reason="this kernel has no Landlock")
_HEAD = """
import contextlib, json, os, signal, socket, sys, threading
from pathlib import Path
from edgellm.runner.sandbox import confine, landlock, places
from edgellm.runner.sandbox.rules import Rules, rules_for, rules_for_headers
tried = {}
def attempt(name, act):
    try:
        act()
        tried[name] = "done"
    except OSError as error:
        tried[name] = os.strerror(error.errno)
here = Path(sys.argv[1])
"""


def told(tmp_path, script):
    """What a process says that runs this."""
    program = _HEAD + textwrap.dedent(script) + "\nprint(json.dumps(tried))"
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@needs_landlock
def test_what_is_not_listed_cannot_be_opened_made_or_removed(tmp_path):
    for name in ("model", "secret", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("words")
    (tmp_path / "model" / "link").symlink_to(tmp_path / "secret" / "file")
    tried = told(
        tmp_path,
        """
        rules = Rules((*places.code(), str(here / "model")), (str(here / "kept"),), ("/dev/null",))
        confine.confine(rules)
        attempt("listed", lambda: (here / "model/file").read_text())
        attempt("passwd", lambda: Path("/etc/passwd").read_text())
        attempt("around", lambda: os.listdir(here.parent))
        attempt("secret", lambda: (here / "secret/file").read_text())
        attempt("by link", lambda: (here / "model/link").read_text())
        attempt("change", lambda: (here / "model/file").write_text("others"))
        attempt("remove", lambda: (here / "model/file").unlink())
        attempt("make", lambda: (here / "made").write_text("more"))
        attempt("keep", lambda: (here / "kept/new").write_text("more"))
        attempt("rename", lambda: (here / "kept/new").rename(here / "kept/old"))
        attempt("null", lambda: Path("/dev/null").write_text("more"))
        attempt("run", lambda: os.execv("/bin/sh", ["sh", "-c", "true"]))
        """,
    )
    done = {name for name, how in tried.items() if how == "done"}
    assert done == {"listed", "keep", "rename", "null"}
    assert {how for how in tried.values() if how != "done"} == {"Permission denied"}
    assert (tmp_path / "model" / "file").read_text() == "words"
    assert not (tmp_path / "made").exists()


@pytest.mark.skipif(ABI < 4, reason="this kernel's Landlock knows no TCP")
def test_nobody_is_reached_by_tcp(tmp_path):
    tried = told(
        tmp_path,
        """
        there = socket.create_server(("127.0.0.1", 0))
        confine.confine(Rules(places.code()))
        attempt("connect", lambda: socket.create_connection(there.getsockname()))
        attempt("listen", lambda: socket.create_server(("127.0.0.1", 0)))
        """,
    )
    assert tried == {"connect": "Permission denied", "listen": "Permission denied"}


@needs_landlock
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no numbers of calls")
def test_no_socket_of_any_kind_is_made_and_all_else_goes_on(tmp_path):
    tried = told(
        tmp_path,
        """
        pipe = socket.socketpair()
        confine.confine(Rules(places.code()))
        for kind in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"):
            attempt(kind, lambda: socket.socket(getattr(socket, kind), socket.SOCK_DGRAM))
        attempt("pipe", lambda: pipe[0].send(b"word"))
        attempt("thread", lambda: threading.Thread(target=int).start())
        """,
    )
    assert {name for name, how in tried.items() if how == "done"} == {"pipe", "thread"}
    assert tried["AF_UNIX"] == "Permission denied"


@pytest.mark.skipif(ABI < 6, reason="this kernel's Landlock knows no signals")
def test_nobody_else_is_signalled(tmp_path):
    tried = told(
        tmp_path,
        """
        confine.confine(Rules(places.code()))
        attempt("parent", lambda: os.kill(os.getppid(), 0))
        attempt("itself", lambda: os.kill(os.getpid(), 0))
        """,
    )
    assert tried == {"parent": "Operation not permitted", "itself": "done"}


@needs_landlock
def test_threads_that_come_later_are_bound_too_and_rights_are_never_raised(tmp_path):
    tried = told(
        tmp_path,
        """
        confine.confine(Rules((*places.code(), "/proc")))
        reading = threading.Thread(
            target=attempt, args=("thread", lambda: Path("/etc/passwd").read_text())
        )
        reading.start()
        reading.join()
        status = Path("/proc/self/status").read_text()
        tried["no_new_privs"] = status.partition("NoNewPrivs:")[2].split()[0]
        """,
    )
    assert tried == {"thread": "Permission denied", "no_new_privs": "1"}


@needs_landlock
def test_where_something_needed_cannot_be_read_nothing_is_bound(tmp_path):
    (tmp_path / "model").write_text("words")
    tried = told(
        tmp_path,
        """
        model = str(here / "model")
        try:
            confine.confine(Rules(places.code(), needed=(model,)))
        except confine.NotConfined as error:
            tried["why"] = str(error)
        def imports():
            raise ImportError("libmkl.so: cannot open shared object file")
        try:
            confine.confine(Rules(places.code()), imports)
        except confine.NotConfined as error:
            tried["why not"] = str(error)
        attempt("passwd", lambda: Path("/etc/passwd").read_text())
        """,
    )
    assert "model" in tried.pop("why")
    assert "libmkl.so" in tried.pop("why not")
    assert tried == {"passwd": "done"}


@needs_landlock
@pytest.mark.parametrize("error", ["AttributeError", "KeyError", "ValueError"])
def test_whatever_an_import_raises_in_it_nothing_is_bound(tmp_path, error):
    tried = told(
        tmp_path,
        f"""
        def imports():
            raise {error}("no symbol 'ggml_init'")
        try:
            confine.confine(Rules(places.code()), imports)
        except confine.NotConfined as error:
            tried["why"] = str(error)
        attempt("passwd", lambda: Path("/etc/passwd").read_text())
        """,
    )
    assert "ggml_init" in tried.pop("why")
    assert tried == {"passwd": "done"}


@needs_landlock
@pytest.mark.parametrize("abi", [one for one in (1, 2, 3, 4, 5, 6, 7) if one <= ABI])
def test_an_older_kernel_is_asked_for_what_it_knows(tmp_path, abi):
    tried = told(
        tmp_path,
        f"""
        (here / "kept").mkdir()
        landlock.restrict(Rules(places.code(), (str(here / "kept"),)), {abi})
        attempt("passwd", lambda: Path("/etc/passwd").read_text())
        attempt("make", lambda: (here / "made").write_text("more"))
        attempt("keep", lambda: (here / "kept/new").write_text("more"))
        attempt("listen", lambda: socket.create_server(("127.0.0.1", 0)))
        """,
    )
    assert tried == {
        "passwd": "Permission denied", "make": "Permission denied", "keep": "done",
        "listen": "Permission denied" if abi >= 4 else "done",
    }  # fmt: skip


@needs_landlock
def test_who_looks_at_headers_reads_and_does_nothing_else(tmp_path):
    tried = told(
        tmp_path,
        """
        confine.confine(rules_for_headers())
        attempt("read", lambda: Path("/etc/passwd").read_text())
        attempt("make", lambda: (here / "made").write_text("more"))
        attempt("run", lambda: os.execv("/bin/sh", ["sh", "-c", "true"]))
        """,
    )
    assert tried == {"read": "done", "make": "Permission denied", "run": "Permission denied"}
