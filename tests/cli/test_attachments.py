import base64

import pytest
from pictures import png
from sound_files import wav

from edgellm.cli.attachments import audio_parts, image_parts
from edgellm.errors import BadRequest


def test_a_picture_becomes_a_url_that_holds_it(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 2))

    (part,) = image_parts([str(path)])
    assert part.image_url.url.startswith("data:image/*;base64,iVBOR")


def test_a_file_that_is_not_there_is_named_with_what_to_do(tmp_path):
    with pytest.raises(BadRequest, match=r"x\.png: No such file") as caught:
        image_parts([str(tmp_path / "x.png")])
    assert "--image" in caught.value.hint


def test_a_file_that_is_no_picture_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("hello")

    with pytest.raises(BadRequest, match=str(path)):
        image_parts([str(path)])


def test_a_sound_becomes_a_part_that_holds_it(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(0.2))

    (part,) = audio_parts([str(path)])
    assert (part.type, part.input_audio.format) == ("input_audio", "wav")
    assert base64.b64decode(part.input_audio.data) == wav(0.2)


def test_a_file_that_is_no_sound_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 2))

    with pytest.raises(BadRequest, match=str(path)) as caught:
        audio_parts([str(path)])
    assert "WAV" in caught.value.hint
    with pytest.raises(BadRequest, match="No such file") as caught:
        audio_parts([str(tmp_path / "x.wav")])
    assert "--audio" in caught.value.hint
