from edgellm.models.repo_files import RepoFile
from edgellm.server.hub.page import how_to, page, rows_of
from edgellm.server.hub.told import Copy


def copy(repo, *files):
    return Copy(repo, "a" * 40, tuple(RepoFile(*file, sha256="b" * 64) for file in files), 0.0)


def test_each_model_has_a_line_by_its_name():
    copies = (
        copy("zoo/last-GGUF", ("last-Q8_0.gguf", 1 << 30)),
        copy("Ape/first-GGUF", ("first-Q8_0.gguf", 2 << 20), ("first-Q4_0.gguf", 1 << 20)),
    )
    assert rows_of(copies) == [
        ("Ape/first-GGUF:Q4_0", "1.0 MiB"),
        ("Ape/first-GGUF:Q8_0", "2.0 MiB"),
        ("zoo/last-GGUF:Q8_0", "1.0 GiB"),
    ]


def test_a_split_model_is_one_and_what_it_lacks_is_told():
    parts = [(f"m-Q8_0-0000{n}-of-00003.gguf", 1 << 20) for n in (1, 2, 3)]
    assert rows_of([copy("org/m", *parts)]) == [("org/m:Q8_0", "3.0 MiB")]
    assert rows_of([copy("org/m", *parts[:2])]) == [("org/m:Q8_0", "2.0 MiB, not whole")]


def test_what_has_no_label_goes_by_its_file_and_other_formats_by_their_repository():
    assert rows_of([copy("org/m", ("model.gguf", 1024))]) == [("org/m/model.gguf", "1.0 KiB")]
    safe = copy("org/safe", ("model.safetensors", 1024), ("config.json", 1024))
    assert rows_of([safe]) == [("org/safe", "2.0 KiB")]


def test_a_page_says_what_to_type_and_that_nothing_is_here():
    text = page([], "http://box:8485", has_key=True)
    assert "export HF_ENDPOINT=http://box:8485\n" in text
    assert "export HF_TOKEN=…" in text
    assert "Nothing is here yet" in text
    assert text.endswith("\n")
    assert not any("HF_TOKEN" in line for line in how_to("http://box", has_key=False))
