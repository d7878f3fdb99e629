import os
import shutil
from dataclasses import replace

from real_model import demo_path, plan

from edgellm.runner.fingerprint import fingerprint


def of(path, made=None, n_cells=512, library="1"):
    return fingerprint(os.fsencode(path), made or plan(), n_cells, library)


def test_the_same_file_elsewhere_is_the_same_model(tmp_path):
    copy = shutil.copy(demo_path(), tmp_path / "other.gguf")
    assert of(copy) == of(demo_path())


def test_weights_that_were_tuned_under_the_same_header_are_another_model(tmp_path):
    copy = tmp_path / "tuned.gguf"
    data = bytearray(demo_path().read_bytes())
    half = len(data) // 2
    data[half:] = bytes(byte ^ 1 for byte in data[half:])
    copy.write_bytes(data)
    assert of(copy) != of(demo_path())


def test_whatever_changes_what_cells_hold_changes_it():
    made = plan()
    others = [
        of(demo_path(), replace(made, kv_type_k="q8_0")),
        of(demo_path(), replace(made, kv_type_v="q8_0")),
        of(demo_path(), replace(made, flash_attention=True)),
        of(demo_path(), replace(made, kv_unified=False)),
        of(demo_path(), replace(made, devices=("CUDA0",))),
        of(demo_path(), n_cells=1024),
        of(demo_path(), library="2"),
    ]
    assert len({of(demo_path()), *others}) == 1 + len(others)


def test_how_many_talk_does_not_change_it():
    assert of(demo_path(), plan(n_parallel=2, n_threads=3)) == of(demo_path())
