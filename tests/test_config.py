import pytest

from edgellm.config import Config, config_path, host_and_port, load_config, unknown_variables
from edgellm.errors import ConfigError


def load(environ=None, tmp_path=None, toml=None, **flags):
    environ = dict(environ or {})
    if toml is not None:
        (tmp_path / "config.toml").write_text(toml)
        environ["EDGELLM_CONFIG"] = str(tmp_path / "config.toml")
    else:
        environ.setdefault("XDG_CONFIG_HOME", "/nonexistent")
    return load_config(environ, flags)


@pytest.fixture(autouse=True)
def no_file_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))


def test_nothing_said_means_the_defaults():
    assert load() == Config()


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path):
    toml = 'port = 1\nhost = "file"\nreserve = "1GiB"\n'
    config = load({"EDGELLM_PORT": "2", "EDGELLM_HOST": "env"}, tmp_path, toml, port=3)

    assert (config.port, config.host, config.reserve) == (3, "env", "1GiB")


def test_a_flag_that_is_none_was_not_given():
    assert load({"EDGELLM_PORT": "2"}, port=None).port == 2


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ("prot = 8484", ": prot is", "did you mean port?"),
        ("[model.demo]\nctx = 512", ": model is", "did you mean models?"),
        ('[keys.anna]\nkey = "s"\ntoken_per_day = 5', ", [keys.anna]: token_per_day is",
         "did you mean tokens_per_day?"),
        ("zzz = 1", ": zzz is", "docs/configuration.md has all that there are"),
    ],
)  # fmt: skip
def test_a_key_that_is_none_is_told_with_its_table_and_what_is_meant(text, where, hint, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config({"EDGELLM_CONFIG": str(path)}, {})
    assert (str(caught.value), caught.value.hint) == (f"{path}{where} not known", hint)


def test_a_file_that_is_not_toml_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="can't be read"):
        load(toml="port = = 1\n", tmp_path=tmp_path)


def test_a_file_that_was_named_must_be_there():
    with pytest.raises(ConfigError, match="/nowhere"):
        load({"EDGELLM_CONFIG": "/nowhere/config.toml"})


def test_without_a_name_the_file_is_in_the_users_configuration_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    assert config_path({}).name == "config.toml"
    assert config_path({"EDGELLM_CONFIG": "/x.toml"}).as_posix() == "/x.toml"


@pytest.mark.parametrize("text", ["70000", "-1"])
def test_a_port_that_cannot_be_is_an_error(text):
    with pytest.raises(ConfigError, match="port"):
        load({"EDGELLM_PORT": text})


@pytest.mark.parametrize("name", ["max_queue", "port"])
def test_a_wrong_type_is_an_error_that_names_the_variable(name):
    variable = f"EDGELLM_{name.upper()}"
    with pytest.raises(ConfigError, match=f"{name} can't be 'many': it must be a whole") as raised:
        load({variable: "many"})
    assert raised.value.hint == f"look at {variable}"


def test_a_wrong_type_in_the_file_is_an_error_that_names_the_setting_and_the_file(tmp_path):
    with pytest.raises(ConfigError, match="max_queue can't be 'many': it must be") as raised:
        load(tmp_path=tmp_path, toml='max_queue = "many"')
    assert str(tmp_path / "config.toml") in raised.value.hint


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("reserve = 5", "reserve can't be 5: it must be a text, in quotes"),
        ('offline = "maybe"', "offline can't be 'maybe': it must be true or false"),
        ('aliases = "all"', "aliases can't be 'all': it must be a list, in brackets"),
        ('aliases = ["a", 2]', "aliases[1] can't be 2: it must be a text, in quotes"),
        (f'aliases = "{"x" * 99}"', f"aliases can't be '{'x' * 39}: it must be"),
        ('api_keys = "s3cret"', "api_keys can't be: it must be a list, in brackets"),
        ("key_weights = { s3cret = [] }", "key_weights[...] can't be: it must be a number"),
        ('health_webhook = ["https://h/s3cret"]', "health_webhook can't be: it must be a text"),
    ],
)
def test_a_value_that_is_of_another_kind_is_shown_unless_it_may_be_a_secret(tmp_path, toml, words):
    with pytest.raises(ConfigError) as raised:
        load(tmp_path=tmp_path, toml=toml)
    assert str(raised.value).startswith(words)
    assert "s3cret" not in f"{raised.value} {raised.value.hint}"


@pytest.mark.parametrize("text", ["s3cret", "s3cret=heavy", "s3cret="])
def test_weights_that_are_none_are_told_with_their_form(text):
    with pytest.raises(ConfigError, match="key_weights can't be: it must be a number") as raised:
        load({"EDGELLM_KEY_WEIGHTS": text})
    assert raised.value.hint == "look at EDGELLM_KEY_WEIGHTS, which is KEY=WEIGHT,KEY=WEIGHT"


def test_a_file_that_cannot_be_read_is_told_without_a_number_of_the_system(tmp_path):
    with pytest.raises(ConfigError, match=r": Is a directory$"):
        load({"EDGELLM_CONFIG": str(tmp_path)})


@pytest.mark.parametrize(
    ("word", "is_on"), [("1", True), ("yes", True), ("ON", True), ("0", False), ("", False)]
)
def test_yes_and_no_may_be_written_in_many_ways(word, is_on):
    assert load({"EDGELLM_OFFLINE": word}).offline is is_on


def test_a_yes_or_no_that_is_neither_is_an_error():
    with pytest.raises(ConfigError, match="EDGELLM_OFFLINE='maybe'"):
        load({"EDGELLM_OFFLINE": "maybe"})


def test_lists_are_written_with_commas():
    config = load({"EDGELLM_API_KEYS": "one, two,", "EDGELLM_ALLOWED_HOSTS": "box"})

    assert config.api_keys == ("one", "two")
    assert config.allowed_hosts == ("box",)


def test_aliases_and_origins_are_lists():
    config = load({"EDGELLM_ALIASES": "a,*", "EDGELLM_ALLOWED_ORIGINS": "app://obsidian.md"})
    assert config.aliases == ("a", "*")
    assert config.allowed_origins == ("app://obsidian.md",)


@pytest.mark.parametrize(
    "origin",
    [
        "localhost:3000",
        "http://a/",
        "http://a/b",
        "null",
        "http://",
        "http://u@a",
        "http://*.example.com",
        "chrome-extension://*",
    ],
)
def test_an_origin_is_as_browsers_write_it(origin):
    with pytest.raises(ConfigError, match="is no origin"):
        load({"EDGELLM_ALLOWED_ORIGINS": origin})


def test_every_page_may_ask_only_where_a_key_is_needed():
    every = {"EDGELLM_ALLOWED_ORIGINS": "*"}
    with pytest.raises(ConfigError, match="no API key"):
        load(every)
    assert load(every | {"EDGELLM_API_KEY": "k"}).allowed_origins == ("*",)


def test_one_api_key_may_be_said_in_the_singular():
    assert load({"EDGELLM_API_KEY": "secret"}).api_keys == ("secret",)


@pytest.mark.parametrize("key", ["", "  "])
@pytest.mark.parametrize("others", [(), ("secret",)])
def test_an_empty_api_key_is_an_error_and_not_a_server_for_everybody(key, others):
    with pytest.raises(ConfigError, match="api_keys"):
        load_config({}, {"api_keys": (*others, key)})
    with pytest.raises(ConfigError, match="EDGELLM_API_KEY"):
        load({"EDGELLM_API_KEY": key})


def test_variables_of_other_programs_are_passed_over():
    assert load({"EDGELLM_SOMETHING_ELSE": "1", "PATH": "/bin"}) == Config()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("EDGELLM_OFLINE", "EDGELLM_OFFLINE"),
        ("EDGELLM_APIKEY", "EDGELLM_API_KEY"),
        ("EDGELLM_HOTS", "EDGELLM_HOST"),
        ("EDGELLM_offline", None),  # names of variables have their case
        ("EDGELLM_SOMETHING_ELSE", None),
    ],
)
def test_a_variable_that_nobody_reads_is_told_with_the_one_that_was_meant(name, near):
    assert [*unknown_variables({name: "1", "PATH": "/bin"})] == [(name, near)]


def test_every_variable_that_somebody_reads_is_known():
    read = {f"EDGELLM_{field.upper()}" for field in Config.__struct_fields__}
    read |= {"EDGELLM_API_KEY", "EDGELLM_CONFIG", "EDGELLM_WHEEL_INDEX"}

    assert [*unknown_variables(dict.fromkeys(read, "1"))] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("box", ("box", None)),
        ("box:11434", ("box", 11434)),
        (":11434", ("127.0.0.1", 11434)),
        ("http://box:80/", ("box", 80)),
        ("https://box", ("box", None)),
        ("[::1]:8484", ("::1", 8484)),
        ("[::1]", ("::1", None)),
        ("::1", ("::1", None)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
    ],
)
def test_an_address_is_read_as_ollama_reads_it(text, expected):
    assert host_and_port(text) == expected


@pytest.mark.parametrize("text", ["box:http", "box:99999", "box:-1"])
def test_an_address_with_an_impossible_port_is_an_error(text):
    with pytest.raises(ConfigError, match="no port"):
        host_and_port(text)


def test_edgellm_host_places_the_server_too():
    config = load({"EDGELLM_HOST": "0.0.0.0:9000"})

    assert (config.host, config.port) == ("0.0.0.0", 9000)
    assert load({"EDGELLM_HOST": "box:1", "EDGELLM_PORT": "2"}).port == 2
    assert load({"EDGELLM_HOST": "unix:///run/e.sock"}).unix_socket == "/run/e.sock"
    assert load({"EDGELLM_HOST": ""}) == Config()


@pytest.mark.parametrize("price", ["-0.31", "nan", "inf", "-inf"])
def test_the_price_of_a_kilowatt_hour_comes_from_anywhere_and_is_a_price(price):
    assert load({"EDGELLM_ENERGY_PRICE_PER_KWH": "0.31"}).energy_price_per_kwh == 0.31
    assert load({"EDGELLM_ENERGY_PRICE_PER_KWH": "0"}).energy_price_per_kwh == 0
    with pytest.raises(ConfigError, match=f"energy_price_per_kwh {price} is no price"):
        load({"EDGELLM_ENERGY_PRICE_PER_KWH": price})


@pytest.mark.parametrize("currency", ["", "E\x1b[31m", "E\nUR", "more than a word"])
def test_a_currency_is_any_short_word_or_sign(currency):
    assert load({"EDGELLM_CURRENCY": "€"}).currency == "€"
    with pytest.raises(ConfigError, match="currency"):
        load({"EDGELLM_CURRENCY": currency})


@pytest.mark.parametrize("name", ["MAX_TEMPERATURE_C", "MAX_POWER_W"])
@pytest.mark.parametrize("value", ["0", "-3", "nan", "inf"])
def test_a_ceiling_below_which_nothing_ever_is_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name.lower()} .* is no ceiling"):
        load({f"EDGELLM_{name}": value})


def test_where_the_sensors_files_are_is_a_folder(tmp_path):
    assert load({"EDGELLM_SENSORS_ROOT": str(tmp_path)}).sensors_root == str(tmp_path)
    with pytest.raises(ConfigError, match="sensors_root /nowhere is no folder"):
        load({"EDGELLM_SENSORS_ROOT": "/nowhere"})


def test_a_webhook_is_a_url_and_a_ceiling_a_number():
    config = load({"EDGELLM_HEALTH_WEBHOOK": "http://box/x", "EDGELLM_MAX_POWER_W": "900"})
    assert (config.health_webhook, config.max_power_w) == ("http://box/x", 900.0)
    with pytest.raises(ConfigError, match="begins with http"):
        load({"EDGELLM_HEALTH_WEBHOOK": "box"})


def test_the_weights_of_keys_come_from_the_file_or_the_environment(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('api_keys = ["a", "b=c"]\nkey_weights = { a = 3 }\n')
    assert load({"EDGELLM_CONFIG": str(path)}).key_weights == {"a": 3.0}
    environ = {"EDGELLM_CONFIG": str(path), "EDGELLM_KEY_WEIGHTS": "a=2, b=c=0.5"}
    assert load(environ).key_weights == {"a": 2.0, "b=c": 0.5}


def test_keys_given_anew_leave_behind_what_the_file_says_of_others(tmp_path):
    toml = 'api_keys = ["a", "b"]\nkey_weights = { a = 3, b = 2 }\n'
    assert load({"EDGELLM_API_KEY": "b"}, tmp_path, toml).key_weights == {"b": 2.0}
    assert load({}, tmp_path, toml, api_keys=("c",)).key_weights == {}
    with pytest.raises(ConfigError, match="key_weights"):
        load({"EDGELLM_API_KEY": "b", "EDGELLM_KEY_WEIGHTS": "a=3"}, tmp_path, toml)


@pytest.mark.parametrize("text", ["s3cret=2", "k=0", "k=nan", "k=1000", "k=x", "k"])
def test_a_weight_that_cannot_be_is_an_error_that_keeps_the_key_secret(text):
    with pytest.raises(ConfigError, match="key_weights") as raised:
        load({"EDGELLM_API_KEY": "k", "EDGELLM_KEY_WEIGHTS": text})
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("name", ["request_memory", "limit_rate", "reserve"])
def test_a_size_that_is_none_is_told_by_its_setting_when_it_is_read(name, tmp_path):
    with pytest.raises(ConfigError, match=f"{name}: 'much' is not a size") as caught:
        load({f"EDGELLM_{name.upper()}": "much"})
    assert "512MiB" in caught.value.hint
    with pytest.raises(ConfigError, match=name):
        load(toml=f'{name} = "much"\n', tmp_path=tmp_path)


def test_a_flags_size_is_the_commands_to_judge():
    assert load(reserve="much").reserve == "much"


def test_the_memory_for_requests_has_a_least():
    with pytest.raises(ConfigError, match=r"request_memory '1000k' is less than 1\.0 MiB"):
        load({"EDGELLM_REQUEST_MEMORY": "1000k"})
    assert load({"EDGELLM_REQUEST_MEMORY": "48MiB"}).request_memory == "48MiB"


@pytest.mark.parametrize(
    ("environ", "toml", "hub"),
    [
        ({}, "", "huggingface"),
        ({"EDGELLM_HUB": "modelscope"}, "", "modelscope"),
        ({}, 'hub = "modelscope"', "modelscope"),
        ({"EDGELLM_HUB": "huggingface"}, 'hub = "modelscope"', "huggingface"),
        ({"MODEL_ENDPOINT": "https://www.modelscope.cn/"}, "", "modelscope"),
        ({"MODEL_ENDPOINT": "https://www.modelscope.cn/"}, 'hub = "huggingface"', "huggingface"),
        ({"MODEL_ENDPOINT": "https://hf-mirror.example"}, "", "huggingface"),
    ],
)
def test_the_hub_is_set_here_or_as_llama_cpp_was_told(tmp_path, environ, toml, hub):
    assert load(environ, tmp_path, toml).hub == hub


def test_a_hub_that_is_none_is_told_with_those_that_are():
    with pytest.raises(
        ConfigError, match="hub can't be 'kaggle': it is neither huggingface nor modelscope"
    ):
        load({"EDGELLM_HUB": "kaggle"})


@pytest.mark.parametrize(("given", "missing"), [("cert", "key"), ("key", "cert")])
def test_tls_takes_a_certificate_and_its_key(given, missing):
    with pytest.raises(ConfigError, match=f"ssl_{missing}_file isn't") as raised:
        load({f"EDGELLM_SSL_{given.upper()}_FILE": "x.pem"})
    assert f"--ssl-{missing}-file" in raised.value.hint


@pytest.mark.parametrize("mode", ["auto", "on", "off"])
def test_the_sandbox_is_one_of_three(mode):
    assert load({}).sandbox == "auto"
    assert load({"EDGELLM_SANDBOX": mode}).sandbox == mode


def test_another_word_for_the_sandbox_is_told_with_those_that_there_are():
    with pytest.raises(
        ConfigError, match="sandbox can't be 'yes': it is neither auto, on nor off"
    ) as raised:
        load({"EDGELLM_SANDBOX": "yes"})
    assert "EDGELLM_SANDBOX" in raised.value.hint
