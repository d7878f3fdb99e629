import pytest
from server.server_fakes import served, served_embedding

from edgellm.errors import BadRequest, ModelNotFound, NotServing
from edgellm.server.served import Models


def test_no_name_means_the_first_of_its_kind():
    one, two, three = served("one"), served_embedding("two"), served("three")
    models = Models([one, two, three])
    assert models.generative(None) is one
    assert models.generative("") is one
    assert models.embedding(None) is two


def test_where_any_will_do_the_one_that_chats_comes_first():
    first, chats = served_embedding("first"), served("chats")
    assert Models([first, chats]).any(None) is chats
    assert Models([first, chats]).any("first") is first
    assert Models([first]).any(None) is first
    with pytest.raises(NotServing):
        Models().any(None)


def test_names_alias_and_file_are_known_in_any_case():
    model = served("Qwen3:8B", aliases=("hf.co/Qwen/Qwen3-8B:Q4_K_M",))
    models = Models([model])
    for name in ("qwen3:8b", "qwen3:8b:latest", "HF.co/qwen/qwen3-8b:q4_k_m", "tiny-q8_0",
                 "/somewhere/else/tiny-q8_0.gguf"):  # fmt: skip
        assert models.find(name) is model


def test_a_whole_name_goes_before_anothers_short_form():
    long, short = served("qwen3:8b-q8_0", aliases=("qwen3:8b",)), served("qwen3:8b")
    assert Models([long, short]).find("QWEN3:8b") is short
    assert Models([long]).find("qwen3:8b") is long


@pytest.mark.parametrize("name", ["qwen", "qwen3:8b:q4", "tiny", ".gguf", "../tiny"])
def test_nothing_else_is(name):
    with pytest.raises(ModelNotFound):
        Models([served("qwen3:8b")]).find(name)


def test_the_command_in_the_error_is_safe_to_paste():
    with pytest.raises(ModelNotFound) as raised:
        Models([served("tiny")]).find("x; rm -rf /")
    assert "edgellm serve 'x; rm -rf /'" in raised.value.hint
    assert "but tiny" in str(raised.value)


def test_where_all_of_the_disk_is_served_what_is_missing_has_to_be_pulled():
    with pytest.raises(ModelNotFound) as raised:
        Models([served("tiny", may_go=True)]).find("qwen3:8b")
    assert raised.value.hint.startswith("`edgellm pull qwen3:8b` brings a model of that name here")


def test_a_long_name_is_not_repeated_in_full():
    with pytest.raises(ModelNotFound) as raised:
        Models().find("x" * 500)
    assert len(str(raised.value)) < 200


def test_an_alias_means_what_no_name_means():
    one, mini = served("one"), served_embedding("mini")
    models = Models([one, mini], ["GPT-4o-mini"])
    assert models.find("gpt-4o-mini") is models.generative("gpt-4o-mini:latest") is one
    assert models.embedding("gpt-4o-mini") is mini
    assert models.find("mini") is mini, "a model's own name goes first"
    with pytest.raises(ModelNotFound):
        models.find("gpt-4o")
    assert models.knows("gpt-4o-mini")
    assert not models.knows("gpt-4o")


def test_a_star_is_any_name_that_is_nobodys():
    one, mini = served("one"), served_embedding("mini")
    models = Models([mini, one], ["*"])
    assert models.find("claude-haiku") is models.generative("claude-haiku") is one
    assert models.embedding("text-embedding-3-small") is mini
    with pytest.raises(BadRequest, match="writes no text"):
        models.generative("mini")
    with pytest.raises(ModelNotFound):
        Models(aliases=["*"]).find("x")


def test_an_alias_is_given_in_any_case_and_a_star_gives_no_name():
    models = Models([served("one")], ["*", "GPT-4o-mini"])
    assert models.is_given("gpt-4o-mini:latest")
    assert not models.is_given("*")
    assert not models.is_given("one")


def test_aliases_are_shown_with_the_model_that_they_mean():
    mini, one = served_embedding("mini"), served("one", aliases=("uno",))
    models = Models([mini, one], ["*", "first", "uno"])
    assert models.aliases_of(one) == ("uno", "first")
    assert models.aliases_of(mini) == ()


def test_a_server_without_a_model_of_the_kind_says_so():
    with pytest.raises(ModelNotFound, match="no embedding model"):
        Models([served()]).embedding(None)


def test_the_wrong_kind_is_told_apart_from_the_unknown():
    models = Models([served("tiny"), served_embedding("mini")])
    with pytest.raises(BadRequest, match="writes no text"):
        models.generative("mini")
    with pytest.raises(BadRequest, match="not an embedding model") as raised:
        models.embedding("tiny")
    assert raised.value.hint.endswith("--embedding OTHER` serves one beside it")


def test_a_swap_keeps_the_place():
    old, other, new = served("old"), served("other"), served("new")
    models = Models([old, other])
    models.swap(old, new)
    assert list(models) == [new, other]
    assert models.generative(None) is new


def test_the_list_may_change_while_it_is_walked():
    models = Models([served("a")])
    for _ in models:
        models.add(served("b"))
    assert [model.name for model in models] == ["a", "b"]
