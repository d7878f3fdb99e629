import pytest
from cli_runs import Home, Terminal


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def home(tmp_path, cache):
    """An empty home: no server runs, no model is here."""
    return Home(tmp_path, cache)


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
