"""Forms as clients write them, cut everywhere."""

import httpx2
import pytest

from edgellm.errors import BadRequest
from edgellm.server.openai.forms import form_fields

KIND = 'multipart/form-data; boundary="a b"'
FORM = (
    b'before\r\n--a b\r\nContent-Disposition: form-data; name="model"\r\n\r\ntiny\r\n'
    b"--a b\r\ncontent-type: audio/wav\r\n"
    b'content-disposition: form-data; name="file"; filename="--a b"\r\n\r\n'
    b"\0\r\n--a\r\n\r\n--a b--\r\n"
)


def test_fields_are_byte_for_byte_what_stands_between_boundaries():
    assert form_fields(FORM, KIND) == {"model": b"tiny", "file": b"\0\r\n--a\r\n"}
    assert form_fields(bytearray(FORM), KIND)["model"] == b"tiny"


def test_a_client_librarys_form_is_read():
    fields = {"model": "größe", "empty": "", "x[]": "last"}
    asked = httpx2.Request(
        "POST", "http://x", data=fields, files={"file": ("ü.wav", bytes(range(256)) * 9)}
    )
    found = form_fields(asked.read(), asked.headers["content-type"])
    assert found == {
        "model": "größe".encode(), "empty": b"", "x[]": b"last", "file": bytes(range(256)) * 9,
    }  # fmt: skip


def test_cut_anywhere_it_is_an_error():
    last = FORM.rindex(b"--") + 2
    for i in range(last):
        with pytest.raises(BadRequest):
            form_fields(FORM[:i], KIND)
    assert form_fields(FORM[:last], KIND)


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data; boundary=a-b",
        "multipart/form-data;BOUNDARY = a-b ; charset=utf-8",
        r'multipart/form-data; x="; boundary=\"no;"; boundary="\a-b"',
        "multipart/form-data; x; boundary=a-b; boundary=c",
    ],
)
def test_parameters_are_read_as_they_may_be_written(kind):
    assert form_fields(FORM.replace(b"a b", b"a-b"), kind)["model"] == b"tiny"


def test_a_header_of_nothing_but_semicolons_is_read_in_linear_time():
    with pytest.raises(BadRequest, match="boundary"):  # in squared time: after half an hour
        form_fields(FORM, 'multipart/form-data; x="' + ";" * 1_000_000)


@pytest.mark.parametrize("kind", ["", "multipart/form-data", "multipart/form-data; boundary="])
def test_without_a_boundary_there_is_none(kind):
    with pytest.raises(BadRequest, match="boundary"):
        form_fields(FORM, kind)


def test_fields_are_not_more_than_may_be():
    one = b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n'
    assert form_fields(one * 60 + b"--x--", "multipart/form-data; boundary=x") == {"a": b"b"}
    with pytest.raises(BadRequest, match="more than 64"):
        form_fields(one * 65 + b"--x--", "multipart/form-data; boundary=x")


def test_a_field_without_a_name_is_passed_over():
    form = b"--x\r\ncontent-type: text/plain\r\n\r\nb\r\n--x--"
    assert form_fields(form, "multipart/form-data; boundary=x") == {}
