"""From names to files, against a hub on loopback. The bytes are the demo's."""

import pytest
from gguf_files import Tensor, gguf_bytes

from edgellm import resources
from edgellm.cli.about import about, quant_rows
from edgellm.cli.preparing.fetching import fetch_model
from edgellm.cli.preparing.prepare import prepare
from edgellm.cli.preparing.resolve import demo, hub_reference_of, resolve
from edgellm.cli.preparing.store import store_of
from edgellm.config import Config
from edgellm.errors import BadGGUF, BadRequest, DoesNotFit, ModelNotFound, NetworkError, Offline
from edgellm.models.names import parse_reference
from edgellm.profiles import load_profiles
from edgellm.runner.calibration import Calibrations, Measured
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal
from edgellm.units import TIB

DEMO = resources.demo_model().read_bytes()
REPO = "unsloth/Qwen3-0.6B-GGUF"  # the catalog's qwen3:0.6b


def pull(hub, config, name="org/repo:Q8_0"):
    hub.add("org/repo", "m-Q8_0.gguf", DEMO)
    return fetch_model(name, config, is_quiet=True)


@pytest.mark.parametrize("name", ["demo", "demo:latest", "Demo", "demo:f16"])
def test_the_demo_needs_nothing(config, name):
    resolved = resolve(name, config)

    assert (resolved.name, resolved.is_local) == ("demo", True)
    assert resolved.candidates[0].spec.architecture == "llama"


def test_the_demo_has_the_quantization_that_ships(config):
    with pytest.raises(ModelNotFound, match="demo ships as F16 alone"):
        resolve("demo:Q4_0", config)


def test_a_path_is_served_where_it_lies(config, tmp_path):
    path = tmp_path / "my-Q8_0.gguf"
    path.write_bytes(DEMO)

    resolved = resolve(str(path), config)

    (candidate,) = resolved.candidates
    assert (candidate.name, candidate.quant, candidate.file) == ("my-Q8_0", "Q8_0", str(path))
    assert resolved.fetch(candidate, lambda *_: None) == path


def test_a_path_that_is_not_there_is_named_as_it_was_written(config):
    with pytest.raises(ModelNotFound, match=r"no file nowhere/x\.gguf"):
        resolve("nowhere/x.gguf", config)


def test_a_repository_offers_its_quantizations_by_their_headers(hub, config):
    hub.add("org/repo", "m-Q8_0.gguf", DEMO)
    hub.add("org/repo", "m-Q4_0.gguf", DEMO)

    resolved = resolve("org/repo", config)

    assert not resolved.is_local
    assert sorted(one.quant for one in resolved.candidates) == ["Q4_0", "Q8_0"]
    assert store_of(config).list() == ()


def test_a_named_quantization_is_the_only_candidate(hub, config):
    hub.add("org/repo", "m-Q8_0.gguf", DEMO)
    hub.add("org/repo", "m-Q4_0.gguf", DEMO)

    (candidate,) = resolve("org/repo:Q4_0", config).candidates

    assert candidate.name == "hf.co/org/repo:Q4_0"


def test_what_was_pulled_is_found_without_network(hub, config):
    path = pull(hub, config)
    asked = len(hub.requests)
    offline = Config(cache_dir=config.cache_dir, offline=True)

    for name in ("org/repo", "org/repo:Q8_0", "hf.co/org/repo"):
        (candidate,) = resolve(name, offline).candidates
        assert candidate.file == str(path)
    assert len(hub.requests) == asked


def test_a_pinned_commit_is_not_satisfied_by_what_lies_here_of_another(hub, config):
    path = pull(hub, config)
    offline = Config(cache_dir=config.cache_dir, offline=True)
    (candidate,) = resolve(f"hf.co/org/repo/tree/{path.parent.name}", offline).candidates
    assert candidate.file == str(path)
    with pytest.raises(Offline):
        resolve(f"hf.co/org/repo/tree/{'0' * 40}", offline)


def test_pulling_again_downloads_nothing(hub, config):
    path = pull(hub, config)
    sent = hub.sent_bytes

    assert pull(hub, config) == path
    assert hub.sent_bytes == sent


@pytest.mark.parametrize("name", ["hf.co/org/repo:Q8_0", "hf.co/org/repo/m-Q8_0.gguf"])
def test_a_file_that_was_cut_here_is_told_with_what_brings_it_back(hub, config, name):
    blob = pull(hub, config).resolve()
    blob.chmod(0o644)
    blob.write_bytes(DEMO[: len(DEMO) // 2])
    with pytest.raises(BadGGUF, match="cut off") as told:
        pull(hub, config, name)
    assert told.value.hint == f"edgellm rm {name}, then pull it again"
    store_of(config).remove(hub_reference_of(parse_reference(name)))
    assert pull(hub, config, name).read_bytes() == DEMO


def test_offline_names_what_is_missing(config):
    with pytest.raises(Offline, match="org/repo"):
        resolve("org/repo", Config(cache_dir=config.cache_dir, offline=True))


def test_without_network_it_is_a_network_error(config):
    with pytest.raises(NetworkError):
        resolve("org/repo", config)


@pytest.mark.parametrize("is_offline", [True, False])
def test_a_quantization_that_only_the_hub_may_know_is_told_with_those_that_are_known(
    config, is_offline
):
    here = Config(cache_dir=config.cache_dir, offline=is_offline)
    with pytest.raises(NetworkError) as told:
        resolve("qwen3:8b:Q4_X", here, plan_only=True)
    assert told.value.hint.startswith(
        "known of qwen3:8b are Q8_0, Q6_K, Q5_K_M, Q5_0, Q4_K_M, and Q4_X has to be looked for; "
    )


def test_a_catalog_name_is_planned_without_network(config):
    resolved = resolve("qwen3:8b", config, plan_only=True)

    assert resolved.name == "qwen3:8b"
    assert "Q4_K_M" in {one.quant for one in resolved.candidates}


def test_a_catalog_name_is_served_from_what_the_repository_really_has(hub, config, hardware):
    hub.add(REPO, "Qwen3-0.6B-Q6_K.gguf", DEMO)

    prepared = prepare(resolve("qwen3:0.6b", config), hardware, Goal())

    assert (prepared.name, prepared.plan.quant) == ("qwen3:0.6b", "Q6_K")
    assert prepared.path.read_bytes() == DEMO
    assert resolve("qwen3:0.6b", config).is_local


def test_a_catalog_name_with_a_quantization_is_its_own_name(hub, config, hardware):
    hub.add(REPO, "Qwen3-0.6B-Q6_K.gguf", DEMO)
    hub.add(REPO, "Qwen3-0.6B-Q8_0.gguf", DEMO)
    fetch_model("qwen3:0.6b-q6_k", config, is_quiet=True)

    resolved = resolve("qwen3:0.6b-q6_k", config)

    assert (resolved.name, resolved.is_local) == ("qwen3:0.6b-q6_k", True)


def test_a_catalog_name_with_a_quantization_is_called_alike_before_and_after_its_download(
    hub, config, hardware
):
    hub.add(REPO, "Qwen3-0.6B-Q8_0.gguf", DEMO)
    first = prepare(resolve("qwen3:0.6b:Q8_0", config), hardware, Goal())
    again = prepare(resolve("qwen3:0.6b:Q8_0", config), hardware, Goal())
    assert [first.name, again.name] == ["qwen3:0.6b-q8_0"] * 2


def test_an_unknown_catalog_name_is_no_model(config):
    with pytest.raises(ModelNotFound, match="nosuch"):
        resolve("nosuch:1b", config)


def test_a_file_that_is_named_like_a_catalog_name_is_pointed_at(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mymodel").write_bytes(b"GGUF")
    with pytest.raises(ModelNotFound, match="the catalog has no 'mymodel'") as told:
        resolve("mymodel", config)
    assert told.value.hint == "the file of that name is ./mymodel"


@pytest.mark.parametrize("is_offline", [True, False])
def test_a_file_that_is_named_like_a_repository_is_pointed_at(
    hub, config, tmp_path, monkeypatch, is_offline
):
    monkeypatch.chdir(tmp_path)
    name = "blobs/sha256-0123"  # as Ollama calls its files
    (tmp_path / "blobs").mkdir()
    (tmp_path / name).write_bytes(DEMO)
    with pytest.raises((ModelNotFound, Offline)) as told:
        resolve(name, Config(cache_dir=config.cache_dir, offline=is_offline))
    assert told.value.hint == f"the file of that name is ./{name}"
    assert resolve(f"./{name}", config).candidates


def test_a_catalog_model_without_a_repository_is_planned_and_not_served(config):
    resolved = resolve("glm-130b", config, plan_only=True)
    assert [one.quant for one in resolved.candidates][:2] == ["F16", "Q8_0"]
    assert resolved.candidates[0].source == "the catalog"
    assert resolved.candidates[0].headers
    with pytest.raises(ModelNotFound, match="no repository has glm-130b:130b"):
        resolve("glm-130b", config)


def test_a_mix_that_the_catalog_does_not_list_is_planned_when_it_is_named(config):
    (one,) = resolve("llama2:70b-f16", config, plan_only=True).candidates
    assert (one.quant, one.spec.quant) == ("F16", "F16")
    assert one.file_bytes == pytest.approx(138e9, rel=0.01)


def test_a_file_that_is_no_model_costs_itself_only(hub, config):
    hub.add(REPO, "good-Q8_0.gguf", DEMO)
    hub.add(REPO, "broken-Q2_K.gguf", b"<html>" * 50)
    resolved = resolve(REPO, config)
    assert [one.quant for one in resolved.candidates] == ["Q8_0"]
    assert all(one.headers for one in resolved.candidates)


def test_a_path_cannot_be_pulled(config):
    with pytest.raises(BadRequest, match="a file of yours"):
        fetch_model("./x.gguf", config)


def test_the_plan_that_counts_is_made_from_the_file_itself(hub, config, hardware):
    """The catalog says 0.6 B parameters; the file that came is the demo."""
    hub.add(REPO, "Qwen3-0.6B-Q6_K.gguf", DEMO)

    prepared = prepare(resolve("qwen3:0.6b", config), hardware, Goal())

    assert prepared.plan.total_bytes < 100 << 20
    assert prepared.template.source


def test_a_smaller_plan_comes_from_the_same_file(hardware):
    prepared = prepare(demo(), hardware, Goal(n_ctx_seq=1024))

    less = prepared.replan(prepared.plan, 0)

    assert less is None or less.total_bytes < prepared.plan.total_bytes


def test_what_cannot_fit_is_not_downloaded(hub, config):
    from selector_machines import machine

    hub.add("org/repo", "m-Q8_0.gguf", DEMO)
    with pytest.raises(DoesNotFit):
        prepare(resolve("org/repo", config), machine(ram=0.001), Goal())
    assert store_of(config).list() == ()


def test_what_is_to_stay_free_is_heeded_where_a_quantization_is_chosen(hub, config, hardware):
    hub.add("org/repo", "m-Q4_0.gguf", DEMO)
    with pytest.raises(DoesNotFit):
        pull(hub, Config(cache_dir=config.cache_dir, reserve="100TiB"), "org/repo")
    assert store_of(config).list() == ()
    rows = quant_rows(about("qwen3:0.6b", config), hardware, Goal(reserve_bytes=100 * TIB))
    assert not any(row.fits for row in rows)


def test_show_tells_licence_template_and_quantizations_of_a_repository(hub, config, hardware):
    hub.add("org/repo", "m-Q8_0.gguf", DEMO)
    hub.add("org/repo", "m-Q4_0.gguf", DEMO[: len(DEMO) // 2])
    hub.add("org/repo", "m-Q4_K_M.gguf", DEMO)
    fetch_model("org/repo:Q8_0", config, is_quiet=True)

    told = about("org/repo", config)
    rows = {row.quant: row for row in quant_rows(told, hardware)}

    assert told.license == "mit"
    assert told.has_template
    assert "<|im_start|>" in told.template
    assert {quant: row.is_here for quant, row in rows.items()} == {
        "Q8_0": True, "Q4_K_M": False, "Q4_0": False,
    }  # fmt: skip
    assert rows["Q4_0"].size_bytes == len(DEMO) // 2
    assert rows["Q4_0"].decode_tok_s > rows["Q8_0"].decode_tok_s


@pytest.mark.parametrize("names", [("a.gguf", "b.gguf"), ("a-Q8_0.gguf", "b-Q8_0.gguf")])
def test_show_tells_models_that_no_label_tells_apart_by_their_files(hub, config, hardware, names):
    hub.add("org/repo", names[0], DEMO)
    hub.add("org/repo", names[1], DEMO[: len(DEMO) // 2])
    fetch_model(f"hf.co/org/repo/{names[0]}", config, is_quiet=True)

    rows = quant_rows(about(f"hf.co/org/repo/{names[0]}", config), hardware)

    assert [(row.quant, row.is_here) for row in rows] == [(names[0], True), (names[1], False)]


def test_show_offline_tells_what_is_here(hub, config):
    pull(hub, config)

    told = about("org/repo", Config(cache_dir=config.cache_dir, offline=True))

    assert told.here == {"Q8_0", "m-Q8_0.gguf"}
    assert told.spec.architecture == "llama"


def test_show_of_a_catalog_name_needs_no_network(config):
    told = about("qwen3:8b", config)

    assert told.license == "apache-2.0"
    assert told.has_template is None


def test_show_tells_the_pace_that_this_machine_was_measured_to_have(config, hardware):
    told = about("qwen3:0.6b", config)
    before = quant_rows(told, hardware)[0].decode_tok_s
    (largest,) = (one for one in told.candidates if one.quant == "Q8_0")
    plan = choose(hardware, [largest], Goal(), load_profiles())
    measured = Measured(decode_tok_s=plan.decode_tok_s.p50 / 2)
    Calibrations().observe(plan, largest.spec, hardware, load_profiles().speed, measured)
    assert quant_rows(told, hardware)[0].decode_tok_s == pytest.approx(before / 2, rel=0.05)


def test_show_of_a_file_tells_what_its_header_says(config):
    told = about("demo", config)

    assert (told.license, told.has_template) == ("mit", True)
    assert told.as_json()["n_layers"] == 4


def test_whichever_part_of_a_split_model_is_named_it_begins_with_the_first(config, tmp_path):
    whole = {"general.architecture": "llama", "llama.block_count": 2, "llama.context_length": 64}
    whole |= {"llama.embedding_length": 16, "llama.attention.head_count": 2, "llama.vocab_size": 8}
    for no in range(2):
        keys = {"split.no": no, "split.count": 2, "split.tensors.count": 2}
        path = tmp_path / f"m-{no + 1:05}-of-00002.gguf"
        path.write_bytes(
            gguf_bytes(
                keys | (whole if no == 0 else {}), [Tensor(f"blk.{no}.attn_norm.weight", (16,))]
            )
        )

    (candidate,) = resolve(str(tmp_path / "m-00002-of-00002.gguf"), config).candidates

    assert candidate.file == str(tmp_path / "m-00001-of-00002.gguf")
