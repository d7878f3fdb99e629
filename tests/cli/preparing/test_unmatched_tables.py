"""Tables that are about no model, beside a real cache and real files."""

import pytest
from bundle_runs import filled

from edgellm.cli.preparing.unmatched_tables import unmatched_tables
from edgellm.config import Config


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """A cache with org/repo in Q8_0, and a file of one's own."""
    filled(tmp_path / "hub", {"m-Q8_0.gguf": b"GGUF"}, repo="org/repo")
    filled(tmp_path / "hub", {"Qwen3-8B-Q4_K_M.gguf": b"GGUF"}, repo="Qwen/Qwen3-8B-GGUF")
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)

    def made(*names, named=()):
        config = Config(models={name: {} for name in names}, cache_dir=str(tmp_path / "hub"))
        return [(one.table.title, one.near) for one in unmatched_tables(config, named)]

    return made


def test_what_lies_here_is_named_or_may_come_has_a_table_rightly(tables):
    names = (
        "demo", "org/repo", "org/repo:Q8_0", "hf.co/Org/Repo", "org/repo/m-Q8_0.gguf",
        "./mine.gguf", "qwen3:8b", "gemma3:12b", "gemma3:12b:Q4_K_M", "some-file", "Mine",
    )  # fmt: skip
    for name in names:
        assert not tables(name), name
    assert not tables("org/new:Q4_0", named=("org/new:Q4_0",))
    assert not tables()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("org/rep", "org/repo"),
        ("org/repo:Q4_0", "hf.co/org/repo:Q8_0"),
        ("qwen3:8b:Q8_0", "qwen3:8b"),
        ("./mime.gguf", "./mine.gguf"),
        ("qwen33", "qwen3"),
    ],
)
def test_all_others_are_told_with_the_names_that_are_spelt_like_theirs(tables, name, near):
    [(title, found)] = tables("demo", name)
    assert title == f'[models."{name}"]'
    assert near in found


def test_what_resembles_nothing_is_told_with_the_way_to_look(tables, tmp_path):
    assert tables("./other.gguf") == [('[models."./other.gguf"]', ())]
    config = Config(models={"zz/9": {}}, cache_dir=str(tmp_path / "hub"))
    [idle] = unmatched_tables(config)
    assert str(idle).endswith(
        '[models."zz/9"]: no model is here by that name; edgellm list shows what is'
    )


@pytest.mark.parametrize("name", [f"./{'a' * 300}.gguf", f"./{'a' * 300}/b.gguf"])
def test_what_cannot_even_be_looked_at_is_not_here(tables, name):
    assert tables(name) == [(f'[models."{name}"]', ())]
