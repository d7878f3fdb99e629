"""Flags, tables and the settings of all, put together; the files are the demo's."""

from dataclasses import replace

import msgspec
import pytest
from selector_machines import machine

from edgellm import resources
from edgellm.cli.flags.drafting import Drafting
from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.flags.pins import Pins
from edgellm.cli.preparing.fetching import fetch_model
from edgellm.cli.preparing.requested import RequestedModel, resolve_requested
from edgellm.cli.preparing.several import prepare_all
from edgellm.config import Config
from edgellm.errors import BadRequest, DoesNotFit

RAM = machine(ram=16)
DEMO = resources.demo_model().read_bytes()


@pytest.fixture
def files(tmp_path):
    for name in ("one", "two", "three"):
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(DEMO)
    return tmp_path


def prepared(files, tables, *names, **more):
    config = Config(models={f"{files}/{name}.gguf": table for name, table in tables.items()})
    models = [
        resolve_requested(f"{files}/{name}.gguf", config, ModelOptions(), **more) for name in names
    ]
    return prepare_all(models, RAM)


def test_a_flag_goes_before_the_table_and_that_before_the_settings_of_all():
    table = {"sleep_idle_seconds": 60, "draft": "own.gguf", "parallel": 3}
    config = Config(sleep_idle_seconds=600, draft="general.gguf", models={"demo": table})

    one = RequestedModel.of("demo", config, ModelOptions(), n_parallel=1)
    other = RequestedModel.of("org/other", config, ModelOptions(), n_parallel=1)
    flags = ModelOptions(pins=Pins(parallel=2), drafting=Drafting(draft="a"), sleep_idle_seconds=5)
    flagged = RequestedModel.of("demo", config, flags)

    told = [(each.settings.keep_s, each.config.draft) for each in (one, other, flagged)]
    assert told == [(60, "own.gguf"), (600, "general.gguf"), (5, "a")]
    assert [each.settings.goal.n_parallel for each in (one, other, flagged)] == [3, 1, 2]
    assert "parallel 3" in one.settings.said
    assert "parallel" not in flagged.settings.said
    assert other.settings.said == ""


def test_what_flags_and_the_table_say_together_may_not_be_and_names_the_table():
    config = Config(models={"demo": {"ctx_size": 1024}})
    with pytest.raises(BadRequest) as refused:
        RequestedModel.of("demo", config, ModelOptions(pins=Pins(ctx=1024, parallel=4)))
    assert 'config.toml, [models."demo"]: ' in str(refused.value)
    assert "ctx_size 1024 is less" in str(refused.value)


def test_what_a_table_says_is_not_said_to_have_been_asked_for(files):
    (one,) = prepared(files, {"one": {"ctx": 256, "cache_type_k": "q8_0"}}, "one")
    assert not any("as you asked" in reason for reason in one.plan.reasons)
    config = Config(models={f"{files}/one.gguf": {"ctx": 256, "cache_type_k": "q8_0"}})
    (one,) = prepare_all(
        [resolve_requested(f"{files}/one.gguf", config, ModelOptions(pins=Pins(ctx=128)))], RAM
    )
    assert "as you asked: --ctx 128" in one.plan.reasons


def test_each_of_several_has_its_own_plan_and_says_why(files):
    one, two = prepared(files, {"one": {"ctx": 256, "name": "uno"}}, "one", "two")

    assert (one.name, one.plan.n_ctx_seq, two.name) == ("uno", 256, "two")
    assert one.aliases == ("one",), "it is found by its own name all the same"
    assert one.plan.reasons[-1].endswith(" of config.toml: ctx 256, name uno")
    assert two.plan.n_ctx_seq > 256
    assert not any("config.toml" in reason for reason in two.plan.reasons)
    assert one.sleeps and two.sleeps  # noqa: PT018 - both take turns


def test_one_that_is_pinned_takes_no_turns_and_is_planned_first(files):
    alone = prepared(files, {}, "one")[0].plan
    one, two, three = prepared(files, {"two": {"pinned": True}}, "one", "two", "three")

    assert [each.sleeps for each in (one, two, three)] == [True, False, True]
    assert two.is_pinned
    assert [each.sleeps for each in prepared(files, {"one": {"pinned": True}}, "one", "two")] == [
        False, True,
    ]  # fmt: skip
    both = {"one": {"pinned": True}, "two": {"pinned": True}}
    assert [each.sleeps for each in prepared(files, both, "one", "two")] == [False, False]
    assert two.plan.prefix_ram_bytes >= one.plan.prefix_ram_bytes
    (single,) = prepared(files, {"one": {"pinned": True, "ctx": 64}}, "one")
    assert (single.sleeps, single.plan.n_ctx_seq) == (False, 64)
    assert alone.n_ctx_seq > 64


def test_the_embedding_model_stays_whatever_is_said_of_all(files):
    config = Config(sleep_idle_seconds=60, models={f"{files}/two.gguf": {"pooling": "mean"}})
    one, two = (
        resolve_requested(f"{files}/{name}.gguf", config, ModelOptions()) for name in ("one", "two")
    )

    one, two = prepare_all([one], RAM, embedding=two)

    assert (one.sleeps, one.keep_s) == (True, 60)
    assert (two.plan.embedding, two.sleeps) == (True, False)


def test_what_does_not_fit_beside_the_pinned_is_refused_and_told_who_keeps_the_memory(files):
    one = resolve_requested(f"{files}/one.gguf", Config(), ModelOptions())
    pinned = replace(
        one, name="steady", settings=replace(one.settings, is_pinned=True, name="steady")
    )
    two = resolve_requested(f"{files}/two.gguf", Config(), ModelOptions())
    needs = prepare_all([one], RAM)[0].plan.placement.bytes_by_pool["host"]
    pool = RAM.host
    for free in range(needs, 40 * needs, needs // 4):
        tight = replace(RAM, pools=(replace(pool, free_bytes=free),))
        try:
            prepare_all([two], tight)
        except DoesNotFit:
            continue
        with pytest.raises(DoesNotFit) as refused:
            prepare_all([pinned, two], tight)
        break
    assert refused.value.hint.startswith("steady keeps its memory (pinned); ")
    full = replace(RAM, pools=(replace(pool, free_bytes=0),))
    with pytest.raises(DoesNotFit) as refused:
        prepare_all([pinned, two], full)
    assert "(pinned)" not in refused.value.hint, "it is the pinned one that doesn't fit"


@pytest.mark.parametrize(("goal", "quant"), [("speed", "Q4_0"), ("quality", "Q8_0")])
def test_what_is_pulled_is_what_would_be_served(hub, config, goal, quant):
    for one in ("Q4_0", "Q8_0"):
        hub.add("unsloth/Qwen3-0.6B-GGUF", f"Qwen3-0.6B-{one}.gguf", DEMO)
    said = msgspec.structs.replace(config, models={"qwen3:0.6b": {"goal": goal}})

    assert fetch_model("qwen3:0.6b", said, is_quiet=True).name == f"Qwen3-0.6B-{quant}.gguf"
