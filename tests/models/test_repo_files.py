"""A repository's files, by the names that publishers give them."""

import pytest

from edgellm.errors import BadRequest, ModelNotFound
from edgellm.models.repo_files import RepoFile, choose_files, group_files, sidecar_kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("mmproj-F16.gguf", "projector"),
        ("model-mmproj-f16.gguf", "projector"),
        ("mmproj/model-Q8_0.gguf", None),
        ("imatrix_unsloth.dat", "imatrix"),
        ("Qwen3-8B.imatrix.gguf", "imatrix"),
        ("mtp-model-Q8_0.gguf", "draft"),
        ("Qwen3.6-27B-mtp-Q8_0.gguf", "draft"),
        ("GLM-4.6-MTP-Q4_K_M.gguf", None),
        ("Q4_K_M/GLM-4.6-Q4_K_M.gguf", None),
        ("llama-eagle3-Q8_0.gguf", "draft"),
        ("qwen-drafter-0.5b.gguf", "draft"),
        ("OpenAssistant-30B-Q4_0.gguf", None),
        ("Redrafted-Q4_0.gguf", None),
        ("mmproj-model-BF16.gguf", "projector"),
        ("mmproj-Q8_0.gguf", "projector"),
        ("vision/mmproj-F32.gguf", "projector"),
        ("imatrix_unsloth.gguf_file", "imatrix"),
        ("model.imatrix", "imatrix"),
        ("model-vocab.gguf", "vocabulary"),
        ("vocab-only.gguf", "vocabulary"),
        ("my-lora2-f16.gguf", "adapter"),
        ("model-part1of2.gguf", "part"),
        ("model.i1-Q6_K.gguf.part2of2", "part"),
        ("MTP/model-Q8_0.gguf", "draft"),
        ("eagle3-llama.gguf", "draft"),
        ("dflash-x.gguf", "draft"),
        ("dspark-x.gguf", "draft"),
        ("Qwen3-0.6B-DRAFT-Q4_0.gguf", "draft"),
        ("gemma-4-assistant-Q8_0.gguf", "draft"),
        ("my-lora-f16.gguf", "adapter"),
        ("ggml-vocab-qwen2.gguf", "vocabulary"),
        ("big.gguf.part1of3", "part"),
        ("big-Q8_0.gguf-split-a", "part"),
        ("big.gguf.part", "part"),
        ("Qwen3-8B-Q4_K_M.gguf", None),
        ("OpenAssistant-Q4_0.gguf", None),
        ("explorater-Q4_0.gguf", None),
    ],
)
def test_sidecars_are_recognised_by_name(path: str, kind: str | None):
    assert sidecar_kind(path) == kind


def listing(*names: str):
    return group_files(RepoFile(name, 100 + n) for n, name in enumerate(names))


def test_a_repository_is_sorted_out():
    found = listing(
        "README.md",
        "Q8_0/big-Q8_0-00001-of-00002.gguf",
        "Q8_0/big-Q8_0-00002-of-00002.gguf",
        "big-Q4_K_M.gguf",
        "mmproj-F16.gguf",
        "imatrix.dat",
        "../evil-Q4_0.gguf",
        "big-BF16-00001-of-00002.gguf",
    )
    assert {model.quant: len(model.files) for model in found.models} == {
        "Q8_0": 2,
        "Q4_K_M": 1,
        "BF16": 1,
    }
    assert [side.kind for side in found.sidecars] == ["imatrix", "projector"]
    incomplete = next(model for model in found.models if model.quant == "BF16")
    assert incomplete.missing == ("big-BF16-00002-of-00002.gguf",)


def test_the_projector_is_the_nearest_one_of_half_precision():
    found = listing(
        "m-Q4_K_M.gguf", "mmproj-F32.gguf", "mmproj-Q8_0.gguf", "mmproj-F16.gguf",
        "other/mmproj-F16.gguf", "sub/m-Q8_0.gguf", "sub/mmproj-BF16.gguf",
    )  # fmt: skip
    assert found.projector("m-Q4_K_M.gguf").path == "mmproj-F16.gguf"
    assert found.projector("sub/m-Q8_0.gguf").path == "sub/mmproj-BF16.gguf"
    assert listing("m-Q4_K_M.gguf").projector("m-Q4_K_M.gguf") is None


def test_a_repository_of_drafters_alone_serves_them_and_one_with_a_model_does_not():
    assert [m.quant for m in listing("Qwen3-0.6B-DRAFT-Q4_0.gguf").models] == ["Q4_0"]
    both = listing("Qwen3-0.6B-DRAFT-Q4_0.gguf", "Qwen3-32B-Q4_K_M.gguf")
    assert [m.quant for m in both.models] == ["Q4_K_M"]
    assert listing("mtp-Qwen3-Q8_0.gguf").models == (), "a head alone is no model"


def test_files_called_adapters_are_models_where_nothing_else_is():
    """A model that a LoRA was merged into keeps the word in its name."""
    alone = listing("X-lora-merged-Q4_K_M.gguf", "X-lora-merged-Q8_0.gguf", "mmproj-F16.gguf")
    assert [m.quant for m in alone.models] == ["Q4_K_M", "Q8_0"]
    assert [side.kind for side in alone.sidecars] == ["projector"]
    beside = listing("X-Q4_K_M.gguf", "X-lora-Q8_0.gguf")
    assert [m.quant for m in beside.models] == ["Q4_K_M"]
    assert listing("adapter_config.json", "my-lora.safetensors").models == ()


def test_shards_come_in_order_whatever_the_listing_says():
    found = listing("m-Q8_0-00002-of-00002.gguf", "m-Q8_0-00001-of-00002.gguf")
    assert [file.path for file in found.models[0].files] == [
        "m-Q8_0-00001-of-00002.gguf",
        "m-Q8_0-00002-of-00002.gguf",
    ]
    assert found.models[0].size_bytes == 201


def test_a_label_means_exactly_itself_before_its_dynamic_sister():
    both = listing("m-UD-Q4_K_M.gguf", "m-Q4_K_M.gguf")
    assert choose_files(both, "Q4_K_M").files[0].path == "m-Q4_K_M.gguf"
    only = listing("m-UD-Q4_K_M.gguf")
    assert choose_files(only, "Q4_K_M").quant == "UD-Q4_K_M"


def test_the_default_goes_down_its_list_then_to_the_smallest():
    assert choose_files(listing("m-Q8_0.gguf", "m-Q4_K_M.gguf")).quant == "Q4_K_M"
    assert choose_files(listing("m-F16.gguf", "m-Q8_0.gguf")).quant == "Q8_0"
    assert choose_files(listing("b.gguf", "a.gguf")).files[0].path == "b.gguf"


def test_two_models_with_one_label_must_be_told_apart():
    with pytest.raises(BadRequest, match=r"a-Q8_0\.gguf, b-Q8_0\.gguf"):
        choose_files(listing("a-Q8_0.gguf", "b-Q8_0.gguf"), "Q8_0")


def test_a_file_named_in_full_is_taken_with_all_its_parts():
    found = listing("a-Q8_0-00001-of-00002.gguf", "a-Q8_0-00002-of-00002.gguf", "b-Q8_0.gguf")
    assert choose_files(found, file="b-Q8_0.gguf").files[0].path == "b-Q8_0.gguf"
    assert len(choose_files(found, file="a-Q8_0-00002-of-00002.gguf").files) == 2
    with pytest.raises(ModelNotFound, match=r"c\.gguf"):
        choose_files(found, file="c.gguf")


def test_a_projector_that_is_named_is_told_to_come_with_a_model():
    with pytest.raises(ModelNotFound, match="is a projector") as raised:
        choose_files(listing("m-Q8_0.gguf", "mmproj-F16.gguf"), file="mmproj-F16.gguf")
    assert "comes along" in raised.value.hint


def test_a_missing_label_lists_those_that_are_there():
    with pytest.raises(ModelNotFound) as raised:
        choose_files(listing("m-Q8_0.gguf", "m-F16.gguf"), "Q2_K")
    assert "Q8_0, F16" in raised.value.hint


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (["README.md"], "-GGUF"),
        (["m-Q4_0_4_4.gguf"], "Q4_0"),
        (["m-Q8_0-00001-of-00002.gguf"], "1 parts"),
        (["mmproj-F16.gguf"], "-GGUF"),
        (["m.Q6_K.gguf.part1of2", "m.Q6_K.gguf.part2of2"], "cat"),
        (["m-IQ4_KS.gguf"], "ik_llama"),
    ],
)
def test_a_repository_without_a_model_says_why(names: list[str], hint: str):
    with pytest.raises(ModelNotFound) as raised:
        choose_files(listing(*names))
    assert hint in raised.value.hint
