"""LoRA adapters and another pooling, by the command line."""

from pathlib import Path

import pytest
from gguf_files import Tensor, gguf_bytes, llama_bytes

from edgellm.cli.flags.adapting import POOLINGS, Adapting, with_adapters
from edgellm.cli.preparing.resolve import on_disk
from edgellm.errors import BadGGUF, BadRequest, ModelNotFound
from edgellm.models.gguf import header

RANK = 4
KEYS = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model.gguf").write_bytes(llama_bytes())
    return on_disk(tmp_path / "model.gguf")


def adapter(tmp_path, name="style.gguf", n_out=32):
    path = tmp_path / name
    name = "blk.0.ffn_up.weight"
    pair = [Tensor(f"{name}.lora_a", (16, RANK)), Tensor(f"{name}.lora_b", (RANK, n_out))]
    path.write_bytes(gguf_bytes(KEYS, pair))
    return str(path)


@pytest.mark.parametrize(
    ("suffix", "scale"), [("", 1.0), ("=0.5", 0.5), ("=-1", -1.0), ("=0", 0.0)]
)
def test_an_adapter_has_its_files_name_and_its_scale(model, tmp_path, suffix, scale):
    found = Adapting(lora=[adapter(tmp_path) + suffix]).applied(model).adapters
    assert [(one.id, one.name, one.scale) for one in found] == [(0, "style", scale)]
    assert Path(found[0].path).is_absolute()


def test_a_path_may_have_the_mark_of_a_scale_in_it(model, tmp_path):
    (tmp_path / "a=b").mkdir()
    path = adapter(tmp_path / "a=b")
    (found,) = Adapting(lora=[path]).applied(model).adapters
    assert found.path == str(Path(path).resolve())


def test_several_are_numbered_in_their_order(model, tmp_path):
    given = [adapter(tmp_path, "a.gguf"), adapter(tmp_path, "b.gguf") + "=2"]
    found = Adapting(lora=given).applied(model).adapters
    assert [(one.id, one.name, one.scale) for one in found] == [(0, "a", 1.0), (1, "b", 2.0)]


def test_what_it_takes_is_planned_for(model, tmp_path):
    adapters = Adapting(lora=[adapter(tmp_path)]).applied(model).adapters
    (plain,) = model.candidates
    planned = with_adapters(plain, adapters)
    assert planned.spec.weight_bytes - plain.spec.weight_bytes == RANK * (16 + 32) * 4
    assert planned.headers == (), "llama.cpp's own figures know nothing of it"
    assert with_adapters(plain, ()) is plain


def test_another_pooling_makes_it_an_embedding_model(model):
    (candidate,) = Adapting(pooling="last").applied(model).candidates
    assert candidate.spec.pooling == "last"
    assert candidate.spec.is_embedding


def test_without_flags_nothing_changes(model):
    assert Adapting().applied(model) == model


@pytest.mark.parametrize(
    ("flags", "error", "said"),
    [
        ({"lora": ["/nowhere/x.gguf"]}, ModelNotFound, "--lora: there is no file /nowhere/x.gguf"),
        ({"lora": ["{adapter}=x"]}, BadRequest, "'x' is no scale"),
        ({"lora": ["{adapter}=nan"]}, BadRequest, "no scale"),
        ({"lora": ["{adapter}=1000"]}, BadRequest, "-100 to 100"),
        ({"lora": ["{adapter}", "{adapter}"]}, BadRequest, "loaded already"),
        ({"lora": ["{adapter}"], "pooling": "mean"}, BadRequest, "--pooling makes it embed"),
        ({"lora_dir": "nowhere"}, BadRequest, "no folder nowhere"),
        ({"pooling": "max"}, BadRequest, "'max' is not known"),
        ({"pooling": "rank"}, BadRequest, "no classifier"),
    ],
)
def test_what_can_not_be_is_said_before_anything_is_loaded(model, tmp_path, flags, error, said):
    path = adapter(tmp_path)
    if "lora" in flags:
        flags = flags | {"lora": [text.format(adapter=path) for text in flags["lora"]]}
    with pytest.raises(error, match=said):
        Adapting(**flags).applied(model)


def test_another_models_adapter_is_refused_by_its_files_name(model, tmp_path):
    adapters = Adapting(lora=[adapter(tmp_path, n_out=64)]).applied(model).adapters
    with pytest.raises(BadGGUF, match=r"style\.gguf"):
        with_adapters(model.candidates[0], adapters)


def test_an_embedding_model_takes_no_adapters(model, tmp_path):
    adapters = Adapting(lora=[adapter(tmp_path)]).applied(model).adapters
    (candidate,) = Adapting(pooling="mean").applied(model).candidates
    with pytest.raises(BadRequest, match="embedding model"):
        with_adapters(candidate, adapters)


def test_every_pooling_that_a_file_may_name_can_be_asked_for():
    assert POOLINGS == header.POOLINGS
