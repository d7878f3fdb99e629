"""What one server is to have, against a hub on loopback. The bytes are the demo's."""

from dataclasses import replace

import pytest
from selector_machines import machine

from edgellm import resources
from edgellm.cli.flags.adapting import Adapting
from edgellm.cli.preparing.resolve import demo, resolve
from edgellm.cli.preparing.several import prepare_all
from edgellm.cli.preparing.store import store_of
from edgellm.config import Config
from edgellm.errors import BadRequest, DoesNotFit
from edgellm.selector.memory.budget import pool_budgets

DEMO = resources.demo_model().read_bytes()


def test_two_generative_models_are_not_served_beside_one_another(hardware):
    with pytest.raises(BadRequest, match="no embedding model"):
        prepare_all([demo()], hardware, embedding=demo())


def test_two_models_of_one_name_are_not_served(hardware):
    embeds = Adapting(pooling="mean").applied(demo())
    with pytest.raises(BadRequest, match="two would be called demo") as caught:
        prepare_all([demo()], hardware, embedding=embeds)
    assert "--name" in caught.value.hint
    one, other = prepare_all([demo()], hardware, embedding=embeds, name="writer")
    assert (one.name, other.name) == ("writer", "demo")


def test_what_is_kept_of_past_conversations_is_divided_among_several(hardware, tmp_path):
    (tmp_path / "other.gguf").write_bytes(DEMO)
    other = resolve(str(tmp_path / "other.gguf"), Config())
    (alone,) = prepare_all([demo()], hardware)
    several = prepare_all([demo(), other], hardware)
    own_bytes = alone.plan.total_bytes
    for one in several:
        assert one.plan.prefix_ram_bytes == alone.plan.prefix_ram_bytes // 2 - own_bytes // 4
    together = sum(one.plan.most_bytes_by_pool["host"] for one in several)
    assert together <= pool_budgets(hardware)["host"]


def test_two_of_one_name_are_told_before_either_is_fetched(hub, config, hardware):
    hub.add("org/repo", "m-Q8_0.gguf", DEMO)
    twice = [resolve("org/repo:Q8_0", config) for _ in range(2)]
    with pytest.raises(BadRequest, match="two would be called") as caught:
        prepare_all(twice, hardware)
    assert "--port 0" in caught.value.hint
    assert store_of(config).list() == ()


def test_two_quantizations_of_a_catalogs_model_have_names_that_tell_them_apart(
    hub, config, hardware
):
    for quant in ("Q4_K_M", "Q8_0"):
        hub.add("unsloth/Qwen3-0.6B-GGUF", f"Qwen3-0.6B-{quant}.gguf", DEMO)
    named = ("qwen3:0.6b:Q4_K_M", "qwen3:0.6b:Q8_0")
    for _ in ("downloaded", "on this disk"):
        served = prepare_all([resolve(name, config) for name in named], hardware)
        assert [one.name for one in served] == ["qwen3:0.6b-q4_k_m", "qwen3:0.6b-q8_0"]


@pytest.mark.parametrize("role", ["second", "embedding", "draft", "the one with a draft"])
def test_what_does_not_fit_is_told_before_any_is_downloaded(hub, config, role):
    hub.add("org/small", "m-Q8_0.gguf", DEMO)
    hub.add("bartowski/Llama-3.3-70B-Instruct-GGUF", "Llama-3.3-70B-Instruct-Q4_K_M.gguf", DEMO)
    hub.add("bartowski/Llama-3.2-1B-Instruct-GGUF", "Llama-3.2-1B-Instruct-Q4_K_M.gguf", DEMO)
    small, large = resolve("org/small", config), resolve("llama3.3:70b:Q4_K_M", config)
    kin = resolve("llama3.2:1b:Q4_K_M", config)
    models, embedding = {
        "second": ([small, large], None),
        "embedding": ([small], Adapting(pooling="mean").applied(large)),
        "draft": ([replace(kin, draft=large)], None),
        "the one with a draft": ([replace(large, draft=kin)], None),
    }[role]
    with pytest.raises(DoesNotFit):
        prepare_all(models, machine(ram=16), embedding=embedding)
    assert store_of(config).list() == ()
