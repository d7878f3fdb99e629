"""Tables of models in a real config.toml."""

import tomllib
from dataclasses import fields

import pytest

from edgellm.cli.flags.adapting import Adapting
from edgellm.cli.flags.drafting import Drafting
from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.flags.options import config_from
from edgellm.cli.flags.pins import Pins
from edgellm.cli.flags.seeing import Seeing
from edgellm.cli.flags.tables import pin_keys, table_of
from edgellm.errors import ConfigError


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """What config.toml says, read as commands do."""

    def written(toml):
        path = tmp_path / "config.toml"
        path.write_text(toml)
        monkeypatch.setenv("EDGELLM_CONFIG", str(path))
        monkeypatch.chdir(tmp_path)
        return config_from()

    return written


def test_every_pin_but_the_machines_own_has_a_key_by_its_long_flag():
    keys = pin_keys()
    assert {one.name for one in fields(Pins)} - set(keys.values()) == {"reserve"}
    assert keys["cache_type_k"] == "ctk"
    assert keys["gpu_layers"] == "ngl"
    assert keys["goal"] == "objective"
    assert keys["kv_unified"] == "kv_unified"


def test_a_table_says_all_that_flags_say_of_one_model(settings):
    config = settings("""
        [models."qwen3:8b"]
        ctx = 16384
        cache_type_k = "q8_0"
        use = "agent"
        kv_unified = false
        draft = "qwen3:0.6b"
        lora = "style.gguf=0.5"
        mmproj = "eyes.gguf"
        name = "helper"
        aliases = ["gpt-4o-mini"]
        sleep_idle_seconds = 600
        system = "Be brief."
        sampling = { temperature = 0.6, top_k = -1, logit_bias = { 5 = -100 } }
    """)
    table = table_of(config, "qwen3:8b")

    assert table.options == ModelOptions(
        pins=Pins(ctx=16384, ctk="q8_0", use="agent", kv_unified=False),
        drafting=Drafting(draft="qwen3:0.6b"),
        seeing=Seeing(mmproj="eyes.gguf"),
        adapting=Adapting(lora=["style.gguf=0.5"]),
        sleep_idle_seconds=600,
    )
    assert (table.name, table.aliases, table.is_pinned) == ("helper", ("gpt-4o-mini",), False)
    assert table.defaults.sampling == {
        "temperature": 0.6, "top_k": 0, "logit_bias": ((5, -100.0),),
    }  # fmt: skip
    assert table.defaults.system == "Be brief."


@pytest.mark.parametrize(
    ("name", "ctx"),
    [
        ("qwen3:8b", 1),
        ("qwen3:8b:q8_0", 1),
        ("hf.co/Qwen/Qwen3-8B-GGUF:Q4_K_M", 2),
        ("qwen/qwen3-8b-gguf", 1),
        ("org/repo:Q4_0", 3),
        ("org/repo", None),
        ("./mine.gguf", 4),
        ("./There.gguf", 7),
        ("./there-00002-of-00002.gguf", 7),
        ("./mine-Q4_K_M.gguf", 8),
        ("ollama:qwen3:8b", 5),
        ("qwen3:4b", None),
        ("https://nowhere/x", None),
        ("demo", 6),
    ],
)
def test_a_model_has_its_table_by_whichever_of_its_names_also_that_of_ps(
    settings, tmp_path, name, ctx
):
    config = settings(f"""
        [models."qwen3:8b"]
        ctx = 1
        [models."qwen3:8b:Q4_K_M"]
        ctx = 2
        [models."org/repo:Q4_0"]
        ctx = 3
        [models."{tmp_path}/mine.gguf"]
        ctx = 4
        [models."ollama:qwen3:8b"]
        ctx = 5
        [models.demo]
        ctx = 6
        [models."there"]
        ctx = 7
        [models."mine"]
        ctx = 9
        [models."mine-Q4_K_M"]
        ctx = 8
    """)
    assert table_of(config, name).options.pins.ctx == ctx


@pytest.mark.parametrize(
    ("toml", "words", "hint"),
    [
        ("ctxx = 5", "ctxx is not known", "did you mean ctx?"),
        ("ngl = 5", "ngl is not known", "did you mean gpu_layers?"),
        ('cache-type-k = "f16"', "cache-type-k is not known", "did you mean cache_type_k?"),
        ("n_ctx = 512", "n_ctx is not known", "did you mean ctx?"),
        ('keep_alive = "5m"', "keep_alive is not known", "did you mean sleep_idle_seconds?"),
        ("top_k = 40", "top_k is not known", "did you mean sampling.top_k?"),
        ("Sampling = {}", "Sampling is not known", "did you mean sampling?"),
        ("quite_another = 1", "quite_another is not known", "one of ctx, ctx_size"),
        ('reserve = "1GiB"', "reserve can't stand here", "above the tables"),
        ('cache_type_k = "q9"', "cache_type_k 'q9' is not known", "one of f32"),
        ('ctx = "many"', "ctx is 'many'; it must be a whole number", ""),
        ("gpu_layers = -7", "gpu_layers is -7; it must be -1 or more", ""),
        ('prefix_ram = "much"', "'much' is not a size", ""),
        (
            "ctx = 1024\nparallel = 4\nctx_size = 1024",
            "ctx_size 1024 is less",
            "leave ctx_size out",
        ),
        ('draft = "qwen3:0.6b"\nspeculate = "mtp"', "draft qwen3:0.6b and speculate mtp", ""),
        ('mmproj = "x.gguf"\nno_mmproj = true', "mmproj and no_mmproj exclude each other", ""),
        ("pinned = true\nsleep_idle_seconds = 5", "pinned is to stay", "leave one out"),
        ("sleep_idle_seconds = nan", "sleep_idle_seconds nan is no time", "inf is never"),
        ('pinned = "always"', "pinned can't be 'always': it must be true or false", ""),
        ('aliases = "x"', "aliases can't be 'x': it must be a list, in brackets", ""),
        ('name = ""', "'' is no name", ""),
        ('aliases = ["*"]', "'*' is no name", ""),
        ("sampling = {temprature = 1}", "sampling.temprature is not known", "mean temperature?"),
        ("sampling = {temperature = 50}", "sampling.temperature can't be", ""),
        (
            "sampling = {logit_bias = {a = 1}}",
            "sampling.logit_bias can't be: each name in it must be a whole number",
            "",
        ),
        ('sampling = {samplers = "zz"}', "sampling.samplers: 'z' is none of", ""),
    ],
)
def test_what_cannot_be_is_told_with_the_file_the_table_and_the_key(settings, toml, words, hint):
    with pytest.raises(ConfigError) as refused:
        settings(f'[models."qwen3:8b"]\n{toml}')

    assert 'config.toml, [models."qwen3:8b"]: ' in str(refused.value)
    assert words in str(refused.value)
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("qwen3:8b", "Qwen/Qwen3-8B-GGUF", 'a table already, [models."qwen3:8b"]'),
        ("./x.gguf", "x.gguf", 'a table already, [models."./x.gguf"]'),
        ("qwen3:8b", "qwen3:8bb", "the catalog has no 'qwen3:8bb'"),
        ("qwen3:8b", "no name at all", "does not name a model"),
        ("qwen3:8b", "/x\\u0000.gguf", "no path can be so: embedded null byte"),
        ("qwen3:8b", "./loop.gguf", "no path can be so: Symlink loop"),
    ],
)
def test_a_model_is_named_once_and_by_a_name_that_there_is(
    settings, tmp_path, first, second, words
):
    (tmp_path / "loop.gguf").symlink_to("loop.gguf")
    with pytest.raises(ConfigError) as refused:
        settings(f'[models."{first}"]\n[models."{second}"]')
    named = tomllib.loads(f'name = "{second}"')["name"]
    assert f'[models."{named}"]: ' in str(refused.value)
    assert words in str(refused.value)


def test_what_is_no_table_is_told_by_its_name(settings):
    with pytest.raises(ConfigError, match=r"models\.demo can't be: it must be a table"):
        settings("[models]\ndemo = 3")


def test_two_models_have_no_name_in_common(settings):
    with pytest.raises(ConfigError, match=r"'GPT' is a name of .*qwen3:8b.*, too"):
        settings('[models."qwen3:8b"]\nname = "gpt"\n[models."qwen3:4b"]\naliases = ["GPT"]')


def test_a_name_without_its_quotes_is_told_how_it_is_written(settings):
    with pytest.raises(ConfigError) as refused:
        settings("[models.qwen3:8b]")
    assert '[models."qwen3:8b"]' in refused.value.hint
    with pytest.raises(ConfigError, match="can't be read") as refused:
        settings('[models."qwen3:8b"]\nctx = 512\n[keys.anna\nkey = "a"')
    assert not refused.value.hint, "what lacks is its bracket"


def test_what_flags_say_goes_before_also_where_they_say_the_usual():
    table = ModelOptions(
        pins=Pins(ctx=1024, use="agent", ctk="q8_0"),
        seeing=Seeing(mmproj="eyes.gguf"),
        adapting=Adapting(lora=["style.gguf"]),
        sleep_idle_seconds=600,
    )
    flags = ModelOptions(pins=Pins(ctx=2048, use="chat"), seeing=Seeing(no_mmproj=True))

    assert ModelOptions().over(table) == table
    assert flags.over(table) == ModelOptions(
        pins=Pins(ctx=2048, use="chat", ctk="q8_0"),
        seeing=Seeing(no_mmproj=True),
        adapting=Adapting(lora=["style.gguf"]),
        sleep_idle_seconds=600,
    )


@pytest.mark.parametrize(
    ("flags", "table", "draft", "speculate"),
    [
        ({"draft": "a"}, {"draft": "b"}, "a", None),
        ({"draft": "a"}, {"speculate": "off"}, "a", None),
        ({"speculate": "ngram"}, {"draft": "b"}, "", "ngram"),
        ({"speculate": "off"}, {"draft": "b"}, "", "off"),
        ({}, {"draft": "b"}, "b", None),
        ({}, {"speculate": "mtp"}, "", "mtp"),
        ({}, {}, None, None),
    ],
)
def test_whoever_says_who_guesses_says_all_of_it(flags, table, draft, speculate):
    def options(draft=None, speculate=None):
        return ModelOptions(pins=Pins(speculate=speculate), drafting=Drafting(draft=draft))

    both = options(**flags).over(options(**table))

    assert both.drafting.named(both.pins) == draft
    assert both.pins.speculate == speculate
