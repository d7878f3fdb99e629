import base64
import json
import tracemalloc

import pytest
from pictures import image_part, jpeg_header, png, png_of
from sound_files import audio_part, mp3, wav

from edgellm.chat.pictures import MAX_PICTURES
from edgellm.errors import BadRequest
from edgellm.server.openai.requests import chat_request
from edgellm.server.routes.text import new_picture_mark

RED, BLUE = png(colour=(255, 0, 0)), png(colour=(0, 0, 255))


def asked(*parts, role="user"):
    body = {"messages": [{"role": role, "content": list(parts)}]}
    return chat_request(json.dumps(body).encode(), new_picture_mark())


def text(words):
    return {"type": "text", "text": words}


def by_url(url):
    return {"type": "image_url", "image_url": {"url": url}}


def refused(*parts):
    with pytest.raises(BadRequest) as caught:
        asked(*parts)
    return caught.value


def test_each_picture_leaves_its_mark_where_it_stood():
    request = asked(text("Here: "), image_part(RED), text(" and "), image_part(BLUE), text("."))
    pictures = request.params.pictures
    assert pictures.files == (RED, BLUE)
    assert request.messages[0].text == f"Here: {pictures.mark} and {pictures.mark}."
    assert pictures.names == ("messages[0].content[1]", "messages[0].content[3]")


def test_text_alone_has_no_pictures():
    assert asked(text("Hi")).params.pictures is None


def test_a_url_may_be_the_string_itself_and_any_type_of_image():
    url = f"DATA:image/jpeg;charset=x;BASE64,{base64.b64encode(RED).decode()}"
    part = {"type": "image_url", "image_url": url}
    assert asked(part).params.pictures.files == (RED,)
    assert asked(by_url(url)).params.pictures.files == (RED,)


def test_base64_may_be_in_lines_and_takes_no_more_memory_for_many():
    data = base64.encodebytes(RED).decode().replace("\n", " \r\n\t")
    assert asked(by_url(f"data:;base64,{data}")).params.pictures.files == (RED,)
    lines = "data:;base64," + "aa " * 300_000
    body = json.dumps({"messages": [{"role": "user", "content": [by_url(lines)]}]}).encode()
    tracemalloc.start()
    with pytest.raises(BadRequest):
        chat_request(body, new_picture_mark())
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 6 * len(body)  # each line a string of its own would be twenty


def test_nobody_can_write_the_mark_himself():
    first = asked(image_part(RED), text("hello")).params.pictures.mark
    request = asked(image_part(RED), text(first))
    assert request.params.pictures.mark != first
    assert request.messages[0].text.count(request.params.pictures.mark) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/x.png",
        "https://example.com/x.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "ftp://x",
        "",
    ],
)
def test_no_address_and_no_file_is_read_for_a_client(url):
    error = refused(text("see"), by_url(url))
    assert "not fetched" in str(error)
    assert error.param == "messages[0].content[1]"


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (by_url("data:image/png,abc"), "without base64"),
        (by_url("data:image/png;base64"), "without base64"),
        (by_url("data:image/png;base64,@@@"), "base64 is damaged"),
        (by_url("data:image/png;base64,abcde"), "base64 is damaged"),
        (by_url("data:image/png;base64,"), "no picture"),
        (image_part(b"hello"), "no picture"),
        (image_part(png_of(30_000, 30_000, b"")), "30000 × 30000"),
        (image_part(jpeg_header(50_000, 50_000)), "50000 × 50000"),
        ({"type": "image_url"}, "not served"),
        ({"type": "input_audio", "input_audio": {"data": ""}}, "no sound"),
        ({"type": "input_audio", "input_audio": {"data": "@@@"}}, "base64 is damaged"),
        ({"type": "input_audio"}, "'input_audio' is not served"),
        (audio_part(png()), "no sound"),
        (audio_part(wav() + bytes(10 << 20)), "more than the 10485760"),
        (image_part(wav()), "no picture"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_place(part, words):
    error = refused(text("see"), image_part(RED), part)
    assert words in str(error)
    assert str(error).startswith("messages[0].content[2]: ")
    assert error.param == "messages[0].content[2]"


def test_the_number_of_pictures_is_bounded():
    assert len(asked(*[image_part(RED)] * MAX_PICTURES).params.pictures.files) == MAX_PICTURES
    error = refused(*[image_part(RED)] * (MAX_PICTURES + 1))
    assert str(MAX_PICTURES) in str(error)
    assert error.param == f"messages[0].content[{MAX_PICTURES}]"


def test_sounds_stand_where_they_were_written_and_are_told_apart():
    by_url = {"data": f"data:audio/mpeg;base64,{base64.b64encode(mp3()).decode()}"}
    found = asked(text("hear"), audio_part(wav()), image_part(RED), {
        "type": "input_audio", "input_audio": by_url,
    })  # fmt: skip
    pictures = found.params.pictures
    assert pictures.files == (wav(), RED, mp3())
    assert pictures.modalities == {"vision", "audio"}
    assert found.messages[0].text == "hear" + pictures.mark * 3
