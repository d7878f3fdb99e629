import sys

import pytest

from scripts.setup.libraries import lay_beside, loads, place_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="libc.so.6 is Linux's")


def test_only_what_the_loader_does_not_find_is_laid_beside(tmp_path):
    beside = tmp_path / "llama_cpp" / "lib"
    beside.mkdir(parents=True)
    for name in ("libc.so.6", "libnowhere.so.1"):
        (tmp_path / name).write_text("packed")
    laid = lay_beside((tmp_path / "libc.so.6", tmp_path / "libnowhere.so.1"), tmp_path)
    assert laid == ("libnowhere.so.1",)
    assert [path.name for path in beside.iterdir()] == ["libnowhere.so.1"]


def test_where_the_loader_finds_it_is_where_it_is_taken_from():
    assert loads("libc.so.6")
    place = place_of("libc.so.6")
    assert place
    assert place.read_bytes().startswith(b"\x7fELF")
    assert place_of("libnowhere.so.1") is None
