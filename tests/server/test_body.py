"""What is done to a body stands between everybody's tokens: it takes little for what is refused."""

import contextlib
import tracemalloc

import msgspec
import pytest

from edgellm.errors import BadRequest
from edgellm.server.body import decode, json_depth
from edgellm.server.ollama.requests import read_chat
from edgellm.server.openai.requests import chat_request

MESSAGES = b'"messages":[{"role":"user","content":"Hi"}]'
N = 1 << 20


class Scale(msgspec.Struct):
    id: int


def peak_bytes(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("1", 0), ("{}", 1), ('{"a":[[1],{}]}', 3), ('["[[["]', 1), (r'["\"[[", [1]]', 2),
        (r'["\\", [[]]]', 3), ('"' + "x" * N + '"', 0), ('["' + r"\n" * (N // 2) + '"]', 1),
    ],
)  # fmt: skip
def test_nesting_is_counted_outside_of_strings_and_no_string_takes_memory(text, depth):
    assert peak_bytes(lambda: json_depth(text)) < 3 * N
    assert json_depth(text) == depth


@pytest.mark.parametrize("letters", [b"x", b"\\n", b"\\u0041"])
@pytest.mark.parametrize(
    ("read", "field"), [(chat_request, b"chat_template_kwargs"), (read_chat, b"options")]
)
def test_what_is_far_too_long_is_refused_unread(read, field, letters):
    body = b'{%b,"%b":{"a":"%b"}}' % (MESSAGES, field, letters * (4 * N // len(letters)))

    def refuse():
        with pytest.raises(BadRequest, match="more than 16384") as raised:
            read(body, "__mark__")
        assert raised.value.param == field.decode()

    assert peak_bytes(refuse) < N


def test_a_past_calls_arguments_are_not_taken_apart_to_know_that_they_are_an_object():
    text = b"[" + b"[]," * (N // 3) + b"[]]"
    calls = b'[{"function":{"name":"a","arguments":{"a":%b}}}]' % text
    body = b'{"messages":[{"role":"assistant","tool_calls":%b}]}' % calls
    assert peak_bytes(lambda: read_chat(body, "__mark__")) < 8 * N


def refused(body):
    with pytest.raises(BadRequest) as raised:
        chat_request(body, "__mark__")
    return str(raised.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b'"messages":[{"role":"bot","content":"Hi"}]',
         "messages[0].role: 'bot' is none of assistant, developer, system, tool, user"),
        (MESSAGES + b',"response_format":{"type":"xml"}',
         "response_format.type: 'xml' is none of json_object, json_schema, text"),
        (MESSAGES + b',"tool_choice":"any"', "tool_choice: 'any' is none of auto, none, required"),
        (b'"messages":[]', "messages: must not be empty"),
        (MESSAGES + b',"tool_choice":"%b"' % (b"x" * 50),
         f"tool_choice: '{'x' * 39}… is none of auto, none, required"),
    ],
)  # fmt: skip
def test_a_value_that_is_none_of_those_there_are_is_told_them(given, words):
    assert refused(b"{%b}" % given) == words


def test_no_range_is_told_of_a_number_that_has_none():
    with pytest.raises(BadRequest) as told:
        read_chat(b'{"model":"m",%b,"keep_alive":true}' % MESSAGES, "")
    assert "None" not in str(told.value)
    assert "expected" in str(told.value)


def test_a_whole_number_may_be_written_with_a_fraction_of_nothing():
    given = b'"max_tokens":16.0,"top_k":5.00,"speculative.n_max":2.0,"temperature":1.0,"x":[3.5]'
    params = chat_request(b"{%b,%b}" % (MESSAGES, given), "m").params
    assert (params.max_tokens, params.sampling.top_k, params.n_draft_max) == (16, 5, 2)
    for number in (b"1.5", b"1e2", b"-7.0"):
        told = refused(b'{%b,"max_tokens":%b}' % (MESSAGES, number))
        value = number.decode().removesuffix(".0")
        assert told == f"max_tokens: {value} is not a whole number from -1 to 2147483647"
    assert refused(b'{"messages":3.0}') == "messages: expected `array`, got `float`"


@pytest.mark.parametrize("number", [b"-5", b"5.5", b"5.0"])
def test_of_fields_that_nobody_knows_nothing_is_kept(number):
    unknown = b",".join(b'"%x":1' % i for i in range(100_000))
    body = b'{%b,"top_k":%b,%b}' % (MESSAGES, number, unknown)

    def read():
        with contextlib.suppress(BadRequest):
            chat_request(body, "m")

    read()  # what is kept for the next time is none of this one's
    assert peak_bytes(read) < N // 4


@pytest.mark.parametrize("number", [b"16.0", b"99999999999"])
@pytest.mark.parametrize(
    ("rest", "words"),
    [
        (b"nonsense", "the body is not JSON"),
        (b'"x":NaN}', "the body is not JSON"),
        (b'"x":' + b"[" * 100_000, "the body is nested too deep"),
    ],
)
def test_what_is_broken_behind_a_number_that_does_not_fit_is_told(number, rest, words):
    assert refused(b'{"max_tokens":%b,%b' % (number, rest)).startswith(words)


def test_a_number_in_a_list_is_none_of_the_outermost_objects():
    with pytest.raises(BadRequest, match=r"expected `int`, got `float`"):
        decode(msgspec.json.Decoder(list[Scale]), b'[{"id":1.0}]')


def test_what_is_no_json_at_all_is_told_as_what_it_is():
    for nothing in (b"", b" \r\n"):
        assert refused(nothing) == "the body is empty"
    latin_1 = b"{%b}" % MESSAGES.replace(b"Hi", "Grüße".encode("latin-1"))
    assert refused(latin_1).startswith("the body is not UTF-8: byte 41 is 0xfc")


def test_the_mark_with_which_editors_of_windows_begin_a_file_is_passed_over():
    body = b"{%b}" % MESSAGES
    marked = b"\xef\xbb\xbf" + body
    assert (
        chat_request(marked, "m") == chat_request(bytearray(marked), "m") == chat_request(body, "m")
    )
