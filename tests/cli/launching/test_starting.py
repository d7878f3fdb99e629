import json
import os
import signal
import subprocess
import sys

import pytest

from edgellm.cli.launching.starting import run
from edgellm.cli.launching.wiring import Launch
from edgellm.errors import StorageError

HOST = "127.0.0.1"


def launch(*argv, environment=None, unset=(), files=None):
    return Launch(argv, environment or {}, unset, files or {}, frozenset())


def python(code):
    return launch(sys.executable, "-c", code)


def test_the_exit_code_is_the_apps_and_of_a_signal_a_shells():
    assert run(python("raise SystemExit(7)"), HOST) == 7
    assert run(python("import os; os.kill(os.getpid(), 9)"), HOST) == 137


def test_it_has_our_environment_with_what_is_set_and_without_what_leads_elsewhere(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("ELSEWHERE", "1")
    monkeypatch.setenv("KEPT", "2")
    out, settings = tmp_path / "out.json", tmp_path / "settings.json"
    code = (
        "import json, os, sys\n"
        "told = dict(os.environ) | {'settings': open(sys.argv[2]).read()}\n"
        "open(sys.argv[1], 'w').write(json.dumps(told))"
    )
    started = launch(
        sys.executable, "-c", code, str(out), str(settings),
        environment={"BASE": "http://x"}, unset=("ELSEWHERE",), files={str(settings): "{}"},
    )  # fmt: skip
    assert run(started, HOST) == 0
    told = json.loads(out.read_text())
    assert (told["BASE"], told["KEPT"], told["settings"]) == ("http://x", "2", "{}")
    assert "ELSEWHERE" not in told


def test_no_proxy_stands_between_the_app_and_the_server(tmp_path, monkeypatch):
    out = tmp_path / "out"
    code = f"import os; open({str(out)!r}, 'w').write(os.environ.get('NO_PROXY', '-'))"
    for name in (
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "lan")
    run(python(code), HOST)
    assert out.read_text() == "lan"
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    run(python(code), HOST)
    assert out.read_text() == "lan,127.0.0.1"


def test_what_can_t_be_started_is_told(tmp_path):
    script = tmp_path / "app"
    script.write_bytes(b"\x00")
    script.chmod(0o755)
    with pytest.raises(StorageError, match="app can't be started"):
        run(launch(str(script)), HOST)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_is_sent_to_us_is_the_apps_to_answer(number):
    app = (
        "import signal\n"
        f"signal.signal({int(number)}, lambda *_: (print('told'), exit(5)))\n"
        "print('there', flush=True)\n"
        "signal.pause()"
    )
    process = _launching(app)
    assert process.stdout.readline() == "there\n"
    process.send_signal(number)
    assert process.communicate()[0] == "told\n"
    assert process.returncode == 5


def test_a_ctrl_c_is_the_apps_and_we_go_on_as_long_as_it_does():
    app = (
        "import signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
        "print('there', flush=True)\n"
        "signal.sigwait({signal.SIGINT})\n"
        "print('not yet')\n"
        "raise SystemExit(3)"
    )
    process = _launching(app, start_new_session=True)
    assert process.stdout.readline() == "there\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of its foreground group
    assert process.communicate()[0] == "not yet\n"
    assert process.returncode == 3


def _launching(app, **options):
    code = (
        "import sys\n"
        "from edgellm.cli.launching.starting import run\n"
        "from edgellm.cli.launching.wiring import Launch\n"
        "argv = (sys.executable, '-c', sys.argv[1])\n"
        "raise SystemExit(run(Launch(argv, {}, (), {}, frozenset()), '127.0.0.1'))"
    )
    return subprocess.Popen(
        (sys.executable, "-c", code, app), stdout=subprocess.PIPE, text=True, **options
    )
