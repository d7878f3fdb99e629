import os

import pytest
from cli_runs import Home, Result, Terminal

from edgellm.cli.main import main


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def home(tmp_path, cache):
    """An empty home: no server runs, no model is here."""
    return Home(tmp_path, cache)


@pytest.fixture
def here(home, monkeypatch, capsys):
    """Runs a command in this process: the same `main`, half a second sooner."""
    ours = ("EDGELLM_", "HF_", "MODEL_", "MODELSCOPE_")
    for name in [name for name in os.environ if name.startswith(ours)]:
        monkeypatch.delenv(name)
    for name, value in home.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(home.folder)

    def run(*args):
        with pytest.raises(SystemExit) as ended:
            main(args)
        out, err = capsys.readouterr()
        return Result(ended.value.code, out, err)

    return run


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory, cache):
    """A home where one server with the demo runs, for all tests that leave it as it is."""
    home = Home(tmp_path_factory.mktemp("home"), cache)
    with home.serving("serve", "demo", "--port", "0") as live:
        home.live = live
        yield home


@pytest.fixture
def terminal(home):
    """Opens programs on terminals of their own: terminal("up", "--demo", TERM="dumb"), or
    another one: terminal("-i", program=("bash",))."""
    opened = []

    def opens(*args, **options):
        opened.append(Terminal(home, *args, **options))
        return opened[-1]

    yield opens
    for one in opened:
        one.close()
