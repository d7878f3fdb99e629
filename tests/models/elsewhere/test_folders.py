import json
import os

import pytest
from elsewhere_stores import DEMO, put

from edgellm.errors import BadGGUF, ModelNotFound
from edgellm.models.elsewhere.reference import ElsewhereReference
from edgellm.models.elsewhere.tools import found_by, found_models


def shown():
    return [model.name for model in found_models()]


def find(tool, name):
    return [model.path.name for model in found_by(ElsewhereReference(tool, name))]


def test_lm_studios_models_are_called_by_their_repository(home):
    models = home / ".lmstudio/models"
    put(models, "org/Tiny-GGUF/Tiny-Q4_K_M.gguf")
    put(models, "org/Tiny-GGUF/Tiny-Q8_0.gguf")
    put(models, "org/Tiny-GGUF/mmproj-Tiny-F16.gguf", b"GGUF")
    put(models, "mlx-community/Tiny-4bit/model.safetensors", b"x")
    put(models, "org/Plain/plain.gguf")
    assert shown() == [
        "lmstudio:org/Plain",
        "lmstudio:org/Tiny-GGUF:Q4_K_M",
        "lmstudio:org/Tiny-GGUF:Q8_0",
    ]
    assert find("lmstudio", "org/Tiny-GGUF:q8_0") == ["Tiny-Q8_0.gguf"]
    assert find("lmstudio", "org/Tiny-GGUF/Tiny-Q4_K_M.gguf") == ["Tiny-Q4_K_M.gguf"]
    assert find("lmstudio", "Org/Tiny-GGUF") == ["Tiny-Q4_K_M.gguf", "Tiny-Q8_0.gguf"]
    assert find("lmstudio", "org/Plain") == ["plain.gguf"]
    assert {model.projector and model.projector.name for model in found_models()} == {
        None, "mmproj-Tiny-F16.gguf"
    }  # fmt: skip


def test_a_split_model_is_one_and_needs_all_its_parts(home):
    models = home / ".lmstudio/models/org/Big-GGUF"
    for n in (1, 2):
        put(models, f"Q4/Big-Q4_K_M-0000{n}-of-00002.gguf", b"GGUF")
    put(models, "Big-Q8_0-00001-of-00003.gguf", b"GGUF")
    assert shown() == ["lmstudio:org/Big-GGUF:Q4_K_M"]
    (model,) = found_models()
    assert model.path.name == "Big-Q4_K_M-00001-of-00002.gguf"
    assert model.size_bytes == 8
    with pytest.raises(ModelNotFound, match="is not whole: Big-Q8_0-00002"):
        find("lmstudio", "org/Big-GGUF:Q8_0")


def test_two_files_with_one_label_are_told_apart_by_their_names(home):
    models = home / ".lmstudio/models/org/Mixed"
    put(models, "a-Q4_0.gguf")
    put(models, "b-Q4_0.gguf")
    put(models, "mmproj.gguf", b"GGUF")
    assert shown() == ["lmstudio:org/Mixed/a-Q4_0.gguf", "lmstudio:org/Mixed/b-Q4_0.gguf"]
    assert find("lmstudio", "org/Mixed:Q4_0") == ["a-Q4_0.gguf", "b-Q4_0.gguf"]
    assert not any(model.projector for model in found_models())  # whose it is, nobody knows


def test_a_label_of_a_fork_is_refused_with_its_reason(home):
    put(home / ".lmstudio/models", "org/Fork/x-IQ4_KS.gguf")
    assert shown() == []
    with pytest.raises(BadGGUF, match="ik_llama"):
        find("lmstudio", "org/Fork")


def test_lm_studios_home_is_where_its_pointer_says(home):
    put(home / ".lmstudio/models", "org/Old/a-Q8_0.gguf")
    put(home / "big/lm/models", "org/New/b-Q8_0.gguf")
    (home / ".lmstudio-home-pointer").write_text(f"{home}/big/lm\n")
    assert shown() == ["lmstudio:org/New:Q8_0"]


def test_lm_studios_older_home_goes_before_the_newer_one(home):
    put(home / ".lmstudio/models", "org/New/b-Q8_0.gguf")
    put(home / ".cache/lm-studio/models", "org/Old/a-Q8_0.gguf")
    assert shown() == ["lmstudio:org/Old:Q8_0"]


@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_lm_studios_models_may_be_set_elsewhere(home, bom):
    put(home / "disk", "org/There/x-Q8_0.gguf")
    (home / ".lmstudio").mkdir()
    settings = bom + json.dumps({"downloadsFolder": str(home / "disk"), "language": "en"})
    (home / ".lmstudio/settings.json").write_text(settings)
    assert shown() == ["lmstudio:org/There:Q8_0"]


@pytest.mark.parametrize(
    "settings",
    [
        "",
        "{",
        "[]",
        '{"downloadsFolder": 7}',
        '{"downloadsFolder": "a\\u0000b"}',
        '{"x":' + "[" * 99_999,
    ],
)
def test_settings_that_say_nothing_leave_the_folder_as_it_is(home, settings):
    put(home / ".lmstudio/models", "org/Here/x-Q8_0.gguf")
    (home / ".lmstudio/settings.json").write_text(settings)
    assert shown() == ["lmstudio:org/Here:Q8_0"]


@pytest.mark.parametrize("pointer", [b"", b"\xff\xfe", b"a\0b", b"/nowhere"])
def test_a_pointer_to_nothing_is_none_to_be_afraid_of(home, pointer):
    (home / ".lmstudio-home-pointer").write_bytes(pointer)
    assert shown() == []


def test_llama_cpps_files_are_of_the_repositories_that_its_manifests_name(home):
    cache = home / ".cache/llama.cpp"
    put(cache, "org_My_Repo-GGUF_tiny-Q4_K_M.gguf")
    put(cache, "org_My_Repo-GGUF_mmproj-F16.gguf", b"GGUF")
    put(cache, "manifest=org=My_Repo-GGUF=Q4_K_M.json", b"{}")
    put(cache, "org_My_Repo-GGUF_tiny-Q4_K_M.gguf.json", b"{}")
    put(cache, "lone-Q8_0.gguf")
    put(cache, "models--org--repo/snapshots/x/other-Q8_0.gguf")
    assert shown() == ["llamacpp:lone-Q8_0.gguf", "llamacpp:org/My_Repo-GGUF:Q4_K_M"]
    (model,) = found_by(ElsewhereReference("llamacpp", "org/My_Repo-GGUF"))
    assert model.path == cache / "org_My_Repo-GGUF_tiny-Q4_K_M.gguf"
    assert model.projector == cache / "org_My_Repo-GGUF_mmproj-F16.gguf"
    assert find("llamacpp", "lone-Q8_0") == ["lone-Q8_0.gguf"]


def test_llama_cpps_variable_names_its_cache(home, monkeypatch):
    put(home / "there", "x-Q8_0.gguf")
    monkeypatch.setenv("LLAMA_CACHE", str(home / "there"))
    assert shown() == ["llamacpp:x-Q8_0.gguf"]


def test_jan_calls_a_model_by_its_folder(home):
    data = home / ".local/share/Jan/data/llamacpp/models"
    put(data, "Jan-v1/model.gguf")
    put(data, "Jan-v1/mmproj.gguf", b"GGUF")
    put(data, "menlo/Other/model.gguf")
    assert shown() == ["jan:Jan-v1", "jan:menlo/Other"]
    assert find("jan", "menlo/Other") == find("jan", "menlo/Other/model.gguf") == ["model.gguf"]


def test_gpt4alls_files_are_called_by_their_names(home):
    put(home / ".local/share/nomic.ai/GPT4All", "Meta-Llama-3-8B-Instruct.Q4_0.gguf")
    put(home / ".local/share/nomic.ai/GPT4All", "Phi-3.Q4_0.gguf")
    put(home / ".local/share/nomic.ai/GPT4All", "incomplete-Other.Q4_0.gguf", b"GGUF")
    assert shown() == ["gpt4all:Meta-Llama-3-8B-Instruct.Q4_0.gguf", "gpt4all:Phi-3.Q4_0.gguf"]
    assert find("gpt4all", "phi-3.Q4_0.gguf") == ["Phi-3.Q4_0.gguf"]


def test_links_are_followed_and_those_to_nothing_or_to_themselves_are_not(home):
    models = home / ".lmstudio/models"
    real = put(home / "disk", "x-Q8_0.gguf")
    (models / "org/Linked").mkdir(parents=True)
    (models / "org/Linked/x-Q8_0.gguf").symlink_to(real)
    (models / "org/Linked/gone-Q4_0.gguf").symlink_to(home / "gone")
    (models / "org/Linked/ring-Q4_0.gguf").symlink_to("ring-Q4_0.gguf")
    (models / "org/Linked/again").symlink_to("../..")
    os.mkfifo(models / "org/Linked/pipe-Q4_0.gguf")
    (models / "org/Linked/folder-Q4_0.gguf").mkdir()
    assert find("lmstudio", "org/Linked/x-Q8_0.gguf") == ["x-Q8_0.gguf"]
    assert {model.path.resolve() for model in found_models()} == {real}


def test_a_name_that_a_terminal_would_obey_is_passed_over(home):
    put(home / ".lmstudio/models/org/X", "a\x1b[2Jb-Q8_0.gguf")
    put(home / ".lmstudio/models/org/X", "fine-Q8_0.gguf")
    put(home / ".lmstudio/models/o\x1b[2Jrg/X", "x-Q8_0.gguf")
    assert all(name.isprintable() for name in shown())
    assert "lmstudio:org/X:Q8_0" in shown()


def test_a_file_that_is_no_gguf_is_found_and_told_when_it_is_read(home):
    put(home / ".lmstudio/models/org/X", "x-Q8_0.gguf", b"no model")
    assert shown() == ["lmstudio:org/X:Q8_0"]
    assert DEMO[:4] == b"GGUF"
