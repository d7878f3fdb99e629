import hashlib

import pytest

from edgellm.config import load_config
from edgellm.errors import ConfigError
from edgellm.keys import digest_of

ANNA = '[keys.anna]\nkey = "s3cret"\n'


def load(tmp_path, toml, environ=(), **flags):
    path = tmp_path / "config.toml"
    path.write_text(toml)
    return load_config({"EDGELLM_CONFIG": str(path), **dict(environ)}, flags)


def keys_of(tmp_path, toml, environ=(), **flags):
    return {key.name: key for key in load(tmp_path, toml, environ, **flags).all_keys()}


def test_a_table_says_what_a_key_may(tmp_path):
    toml = ANNA + (
        'weight = 3\nmodels = ["qwen3:8b"]\ntokens_per_minute = 20000\n'
        "tokens_per_day = 1000000\nmax_concurrent = 4\nadmin = true\n"
    )
    anna = keys_of(tmp_path, toml)["anna"]
    assert (anna.weight, anna.models, anna.admin) == (3.0, ("qwen3:8b",), True)
    bounds = anna.tokens_per_minute, anna.tokens_per_day, anna.max_concurrent
    assert bounds == (20_000, 1_000_000, 4)


def test_what_a_table_leaves_out_is_no_bound_and_no_right(tmp_path):
    anna = keys_of(tmp_path, ANNA)["anna"]
    assert (anna.weight, anna.models, anna.admin) == (1.0, None, False)
    assert (anna.tokens_per_minute, anna.tokens_per_day, anna.max_concurrent) == (None,) * 3


def test_the_list_and_its_weights_are_keys_that_may_everything(tmp_path):
    toml = 'api_keys = ["for-people", "for-batches"]\nkey_weights = { for-people = 3 }\n' + ANNA
    keys = keys_of(tmp_path, toml)
    assert [(name, key.weight, key.admin) for name, key in keys.items()] == [
        ("anna", 1.0, False), ("key 1", 3.0, True), ("key 2", 1.0, True),
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["key", "key_file", "sha256"])
def test_a_key_is_the_same_however_it_is_written(tmp_path, form):
    (tmp_path / "anna.key").write_text("s3cret\nand a note\n")
    line = {
        "key": 'key = "s3cret"',
        "key_file": f'key_file = "{tmp_path / "anna.key"}"',
        "sha256": f'key = "sha256:{hashlib.sha256(b"s3cret").hexdigest()}"',
    }[form]
    assert keys_of(tmp_path, f"[keys.anna]\n{line}\n")["anna"].digest == digest_of("s3cret")


def test_a_key_that_has_a_table_is_what_it_says_though_the_environment_has_it_too(tmp_path):
    """As on the machine where both the server and its user's client run."""
    (anna,) = load(tmp_path, ANNA, {"EDGELLM_API_KEY": "s3cret"}).all_keys()
    assert (anna.name, anna.admin) == ("anna", False)


def test_the_commands_show_a_key_that_may_everything(tmp_path):
    boss = '[keys.boss]\nkey = "b0ss"\nadmin = true\n'
    assert load(tmp_path, ANNA).own_key() is None
    assert load(tmp_path, ANNA + boss).own_key() == "b0ss"
    assert load(tmp_path, 'api_keys = ["first"]\n' + ANNA + boss).own_key() == "first"
    lost = '[keys.lost]\nkey_file = "/no/such/file"\nadmin = true\n'
    assert load(tmp_path, 'api_keys = ["first"]\n' + lost).own_key() == "first"
    hidden = f'[keys.boss]\nkey = "sha256:{"0" * 64}"\nadmin = true\n'
    assert load(tmp_path, hidden).own_key() is None


def test_a_table_alone_is_a_key_that_is_needed(tmp_path):
    assert load(tmp_path, ANNA).needs_key
    assert not load(tmp_path, "").needs_key


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[keys.anna]\n", "anna has neither key nor key_file"),
        (ANNA + 'key_file = "x"\n', "anna has both"),
        ('[keys.anna]\nkey = " "\n', "anna: the key is empty"),
        ('[keys.anna]\nkey = "sha256:s3cret"\n', "anna: what follows sha256: is no SHA-256"),
        ('[keys."an na"]\nkey = "s3cret"\n', "'an na' is no name of a key"),
        ('[keys.""]\nkey = "s3cret"\n', "'' is no name"),
        (ANNA + "weight = 0\n", "keys.anna: weight 0.0 is not between 0.01 and 100"),
        (ANNA + "tokens_per_minute = 0\n", "keys.anna: tokens_per_minute 0 is no bound"),
        (ANNA + "tokens_per_day = -1\n", "keys.anna: tokens_per_day -1 is no bound"),
        (ANNA + "max_concurrent = 0\n", "keys.anna: max_concurrent 0 is no bound"),
        (ANNA + "models = []\n", "keys.anna: models is empty"),
        (ANNA + 'models = [""]\n', "keys.anna: models has a name that is empty"),
        (ANNA + "wieght = 3\n", "\\[keys.anna\\]: wieght is not known"),
        (ANNA + 'weight = "heavy"\n', "keys.anna.weight can't be"),
        (ANNA + '[keys.bob]\nkey = "x"\nadmin = "s3cret"\n', "keys.bob.admin can't be"),
        ("[keys]\ns3cret = 3\n", "keys.* can't be"),  # as if it were key_weights
        ('keys = ["s3cret"]\n', "keys can't be"),
    ],
)
def test_what_a_key_can_not_be_is_said_by_its_name_and_never_with_the_key(tmp_path, toml, words):
    with pytest.raises(ConfigError, match=words) as raised:
        load(tmp_path, toml)
    assert "s3cret" not in f"{raised.value} {raised.value.hint}"


def test_one_key_under_two_names_is_an_error(tmp_path):
    config = load(tmp_path, ANNA + '[keys.bob]\nkey = "s3cret"\n')
    with pytest.raises(ConfigError, match=r"keys\.bob and keys\.anna have the same key"):
        config.all_keys()


@pytest.mark.parametrize("content", [None, b"", b"\n s3cret", b"x" * 5000])
def test_a_key_file_without_a_key_in_its_first_line_is_told_by_the_name(tmp_path, content):
    if content is not None:
        (tmp_path / "k").write_bytes(content)
    config = load(tmp_path, f'[keys.anna]\nkey_file = "{tmp_path / "k"}"\n')
    with pytest.raises(ConfigError, match=r"keys\.anna: .*key_file") as raised:
        config.all_keys()
    assert "s3cret" not in str(raised.value)
    assert "Errno" not in str(raised.value)
    assert str(tmp_path / "k") in str(raised.value)
    assert raised.value.hint
