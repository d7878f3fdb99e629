import pytest

from edgellm.cli.flags import completing
from edgellm.cli.launching.apps import load, named
from edgellm.errors import BadRequest


def test_an_app_is_known_by_its_name_and_no_two_have_one():
    names = [app.name for app in load()]
    assert len({*names}) == len(names)
    assert [named(name).name for name in names] == names


def test_one_that_is_not_known_is_told_with_what_is_meant():
    with pytest.raises(BadRequest, match="'codx'") as raised:
        named("codx")
    assert raised.value.hint == "did you mean codex?"
    with pytest.raises(BadRequest) as raised:
        named("emacs")
    assert "claude, codex" in raised.value.hint
    with pytest.raises(BadRequest) as raised:
        named("qwen3:8b")
    assert raised.value.hint == "a model goes with an app: edgellm launch APP --model qwen3:8b"


def test_the_tab_key_offers_them():
    assert completing.apps("co") == ["codex"]
    assert "claude" in completing.apps("")
