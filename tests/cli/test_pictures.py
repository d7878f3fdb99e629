import pytest
from pictures import png

from edgellm.cli.pictures import data_urls
from edgellm.errors import BadRequest


def test_a_picture_becomes_a_url_that_holds_it(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 2))

    (url,) = data_urls([str(path)])
    assert url.startswith("data:image/*;base64,iVBOR")


def test_a_file_that_is_not_there_is_named_with_what_to_do(tmp_path):
    with pytest.raises(BadRequest, match=r"x\.png: No such file") as caught:
        data_urls([str(tmp_path / "x.png")])
    assert "--image" in caught.value.hint


def test_a_file_that_is_no_picture_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("hello")

    with pytest.raises(BadRequest, match=str(path)):
        data_urls([str(path)])
