"""Once in a real terminal: what tmux has on its pane is what a person would see."""

import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tui_samples import ordinary

from edgellm import status

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(status.encode(ordinary()))

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def tmux(tmp_path):
    """A tmux of its own, that ends with the test; in no locale of whoever runs it."""
    command = ["tmux", "-S", str(tmp_path / "tmux"), "-f", "/dev/null"]
    env = os.environ | {"LC_ALL": "C.UTF-8"}

    def run(*args):
        how = {"check": True, "capture_output": True, "encoding": "utf-8", "env": env}
        return subprocess.run([*command, *args], **how).stdout

    yield run
    subprocess.run([*command, "kill-server"], check=False, capture_output=True)


def start(tmux, url, **environment):
    program = (
        "from edgellm.cli.streams import mend_streams; mend_streams()\n"
        f"from edgellm.tui.app import TopApp; TopApp({url!r}, interval_s=0.2).run()"
    )
    settings = " ".join(f"{k}={shlex.quote(v)}" for k, v in environment.items())
    command = shlex.join([sys.executable, "-c", program])
    python = f"exec env -u COLUMNS -u LINES {settings} {command}"  # the size is the pane's
    tmux("new-session", "-d", "-x", "80", "-y", "24", "-c", str(Path.cwd()), python)


def pane(tmux, words, *options):
    """The pane, as soon as it shows the words."""
    for _ in range(600):
        shown = tmux("capture-pane", "-p", *options)
        if words in shown:
            return shown
        time.sleep(0.1)
    raise AssertionError(f"no {words!r} in a minute; there is:\n{shown}")


def test_a_person_sees_it_and_can_use_it(tmux, url):
    start(tmux, url)
    pane(tmux, "● live")
    pane(tmux, "q quit")
    shown = pane(tmux, "⣿")  # the graph has begun

    for words in ("qwen3:8b", "Q4_K_M · 4 × 8,192", "34.5 tok/s", "98/115 W", "1 running"):
        assert words in shown
    assert len(shown.rstrip("\n").split("\n")) == 24

    tmux("send-keys", "?")
    assert "how to read it" in pane(tmux, "earlier questions")
    tmux("send-keys", "Escape")
    pane(tmux, "98/115 W")
    tmux("send-keys", "c")
    pane(tmux, "Ask the model something")
    tmux("send-keys", "C-q")
    for _ in range(600):
        if not _alive(tmux):
            return
        time.sleep(0.1)
    raise AssertionError("Ctrl-Q did not quit")


def test_in_the_c_locale_it_is_drawn_with_ascii_and_stays_in_its_place(tmux, url):
    start(tmux, url, LC_ALL="C")
    pane(tmux, "* live")
    shown = pane(tmux, "q quit")

    assert shown.isascii()
    lines = shown.rstrip("\n").split("\n")
    frames = [line for line in lines if line.startswith(("+", "|"))]
    assert len(lines) == 24
    assert len(frames) > 15
    assert {len(line) for line in frames} == {80}
    assert {line[-1] for line in frames} == {"+", "|"}


def test_no_color_means_no_colour(tmux, url):
    start(tmux, url, NO_COLOR="1", COLORTERM="truecolor")
    painted = pane(tmux, "● live", "-e")

    colours = {part.split("m")[0] for part in painted.split("\x1b[")[1:] if "m" in part}
    rgb = [code.split("2;")[1].split(";")[:3] for code in colours if "8;2;" in code]
    assert all(len(set(one)) == 1 for one in rgb)


def _alive(tmux):
    try:
        return bool(tmux("list-sessions"))
    except subprocess.CalledProcessError:
        return False
