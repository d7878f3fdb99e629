import pytest

from edgellm.cli.flags.listening import Listening


@pytest.fixture(autouse=True)
def _file(tmp_path, monkeypatch):
    path = tmp_path / "config.toml"
    path.write_text('aliases = ["from-the-file"]\n')
    monkeypatch.setenv("EDGELLM_CONFIG", str(path))


def test_aliases_of_the_command_go_before_the_files():
    assert Listening().config().aliases == ("from-the-file",)
    assert Listening(alias=["gpt-4o-mini", "*"]).config().aliases == ("gpt-4o-mini", "*")
