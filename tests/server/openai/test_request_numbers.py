"""Every number in a body has its bounds, samplers have theirs and llama-server's names."""

from dataclasses import fields

import pytest
from msgspec import inspect
from openai_bodies import chat, completion, refused

from edgellm.chat.messages import SAMPLERS, SamplingParams
from edgellm.server.openai.requests import ChatBody, CompletionBody, chat_request
from edgellm.server.responses.requests import ResponseBody
from edgellm.server.routes.embeddings import EmbeddingsBody
from edgellm.server.routes.infill import InfillBody
from edgellm.server.routes.lora import LoadBody, UnloadBody
from edgellm.server.routes.rerank import RerankBody
from edgellm.server.routes.words import DetokenizeBody, TokenizeBody

BODIES = (
    ChatBody, CompletionBody, EmbeddingsBody, RerankBody, InfillBody, TokenizeBody, DetokenizeBody,
    LoadBody, UnloadBody, ResponseBody,
)  # fmt: skip


def numbers(kind, path):
    """Every int and float type that a body can carry, with where it stands."""
    match kind:
        case inspect.IntType() | inspect.FloatType():
            yield path, kind
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from numbers(field.type, f"{path}.{field.encode_name}")
        case inspect.UnionType(types=types) | inspect.TupleType(item_types=types):
            for one in types:
                yield from numbers(one, path)
        case inspect.ListType(item_type=item):
            yield from numbers(item, f"{path}[]")
        case inspect.DictType(key_type=key, value_type=value):
            yield from numbers(key, f"{path}.key")
            yield from numbers(value, f"{path}.value")
        case inspect.StrType() | inspect.BoolType() | inspect.NoneType():
            pass
        case inspect.LiteralType() | inspect.RawType():
            pass
        case _:
            raise AssertionError(f"{path}: teach this test about {kind}")


@pytest.mark.parametrize("body", BODIES)
def test_every_number_in_a_body_has_bounds(body):
    for path, kind in numbers(inspect.type_info(body), body.__name__):
        assert kind.ge is not None or kind.gt is not None, f"{path} has no lower bound"
        assert kind.le is not None or kind.lt is not None, f"{path} has no upper bound"


def test_the_walk_sees_the_numbers():
    paths = {path for path, _ in numbers(inspect.type_info(CompletionBody), "")}
    assert {".temperature", ".logit_bias.key", ".prompt[]", ".prompt[][]", ".n"} <= paths


def bounded_fields():
    for field in inspect.type_info(ChatBody).fields:
        for path, kind in numbers(field.type, field.encode_name):
            if path == field.encode_name:
                yield path, kind


@pytest.mark.parametrize(("name", "kind"), list(bounded_fields()), ids=lambda x: str(x)[:20])
def test_out_of_bounds_is_refused_by_name(name, kind):
    too_low = kind.gt if kind.ge is None else kind.ge - 1
    for value in (too_low, kind.le + 1, True, "1", [1], {"a": 1}):
        error = refused(chat, **{name: value})
        assert error.param == name
        assert str(error).startswith(f"{name}: ")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 5000])
def test_numbers_that_are_none_are_refused(value):
    body = b'{"messages":[{"role":"user","content":"x"}],"temperature":%b}' % value.encode()
    refused(chat_request, body, "__mark__")


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, None), (-1, None), (0, 0), (7, 7), (2**32 - 1, 0), (2**40 + 5, 261), (-2, 0xFFFFFFFD)],
)
def test_a_seed_fits_llama_cpps_32_bits_and_is_never_its_word_for_random(given, expected):
    assert chat(seed=given).params.sampling.seed == expected


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"temperature": 12}, "temperature: 12 is not a number from 0 to 10"),
        ({"temperature": "hot"}, 'temperature: "hot" is not a number from 0 to 10'),
        ({"repeat_penalty": 0}, "repeat_penalty: 0 is not a number above 0 to 10"),
        ({"top_k": -2}, "top_k: -2 is not a whole number from -1 to 2147483647"),
        ({"n": 10**30}, f"n: {10**30} is not a whole number from 1 to 8"),
        ({"n": 10**90}, f"n: 1{'0' * 39}… is not a whole number from 1 to 8"),
        ({"logprobs": True, "top_logprobs": 99}, "99 is not a whole number from 0 to 20"),
        ({"mirostat": 3}, "mirostat: 3 is not a whole number from 0 to 2"),
        ({"samplers": ["top_k", "nix"]}, "samplers: 'nix' is none of penalties, dry, "),
        ({"samplers": "kz"}, "samplers: 'z' is none of e, d, s, k"),
        ({"samplers": ["top_k", "top-k"]}, "samplers: 'top_k' is there twice"),
        ({"samplers": ["x"] * 17}, "samplers: expected `array` of length <= 16"),
        ({"dry_sequence_breakers": [""]}, "dry_sequence_breakers[0]: must not be empty"),
        ({"dry_sequence_breakers": ["a"] * 17}, "dry_sequence_breakers: expected `array`"),
        ({"logit_bias": {"5": True}}, "logit_bias: token 5 has true; a number, or false to"),
        ({"logit_bias": [["a", 1]]}, "logit_bias[0][0]: expected `int`, got `str`"),
    ],
)
def test_a_number_is_refused_with_its_value_and_its_range(fields, words):
    assert words in str(refused(chat, **fields))
    assert words in str(refused(completion, **fields)) or "top_logprobs" in fields


def test_every_sampler_has_its_numbers_in_a_request():
    given = {
        "temperature": 0.7, "dynatemp_range": 0.2, "dynatemp_exponent": 1.5, "top_k": 30,
        "top_p": 0.8, "min_p": 0.1, "typical_p": 0.9, "top_n_sigma": 1.0, "xtc_probability": 0.5,
        "xtc_threshold": 0.2, "min_keep": 3, "repeat_penalty": 1.1, "repeat_last_n": 99,
        "frequency_penalty": 0.3, "presence_penalty": 0.4, "dry_multiplier": 0.8, "dry_base": 2.0,
        "dry_allowed_length": 3, "dry_penalty_last_n": -1, "mirostat": 2, "mirostat_tau": 4.0,
        "mirostat_eta": 0.2, "adaptive_target": 0.5, "adaptive_decay": 0.8, "seed": 5,
        "ignore_eos": True,
    }  # fmt: skip
    translated = {
        "dry_sequence_breakers": ["\n"], "logit_bias": {"7": 1.5, "8": False}, "samplers": "kt",
    }  # fmt: skip
    expected = SamplingParams(
        **given, dry_sequence_breakers=("\n",), logit_bias=((7, 1.5), (8, float("-inf"))),
        samplers=("top_k", "temperature"),
    )  # fmt: skip
    assert {field.name for field in fields(SamplingParams)} == {*given, *translated}
    for asked in (chat(**given, **translated), completion(**given, **translated)):
        assert asked.params.sampling == expected


@pytest.mark.parametrize(
    ("samplers", "expected"),
    [
        (["Top-K", "nucleus", "temp", "typ", "min-p"],
         ("top_k", "top_p", "temperature", "typ_p", "min_p")),
        ("edskypmxt", SAMPLERS),
        (list(SAMPLERS), SAMPLERS),
        (["adaptive_p", "topnsigma"], ("adaptive_p", "top_n_sigma")),
        (["typical_p", "top_k", "tfs_z"], ("typ_p", "top_k")),
        (["top_k", "typ_p", "tfs_z", "typical_p", "xtc"], ("top_k", "typ_p", "xtc")),  # SillyTavern
        ([], ()),
    ],
)  # fmt: skip
def test_the_order_of_samplers_has_llama_servers_names_and_letters(samplers, expected):
    assert chat(samplers=samplers).params.sampling.samplers == expected


def test_biases_may_be_pairs():
    biases = chat(logit_bias=[[3, 2.5], [4, False]]).params.sampling.logit_bias
    assert biases == ((3, 2.5), (4, float("-inf")))


@pytest.mark.parametrize(
    ("given", "logprobs", "is_post"),
    [
        ({}, None, False),
        ({"n_probs": 5}, 5, False),
        ({"n_probs": 0}, None, False),
        ({"n_probs": 5, "logprobs": 2, "post_sampling_probs": True}, 2, True),
    ],
)
def test_llama_servers_word_for_logprobs_is_understood(given, logprobs, is_post):
    params = completion(**given).params
    assert (params.logprobs, params.post_sampling_probs) == (logprobs, is_post)


def test_top_k_below_zero_is_off():
    assert chat(top_k=-1).params.sampling.top_k == 0


def test_vllms_repetition_penalty_looks_back_on_everything():
    sampling = chat(repetition_penalty=1.5).params.sampling
    assert (sampling.repeat_penalty, sampling.repeat_last_n) == (1.5, -1)
    near = chat(repetition_penalty=1.5, repeat_last_n=8).params.sampling
    assert (near.repeat_penalty, near.repeat_last_n) == (1.5, 8)
    assert chat(repetition_penalty=1).params.sampling == SamplingParams()
    assert chat(repetition_penalty=1, repeat_penalty=1.1).params.sampling == SamplingParams(
        repeat_penalty=1.1
    )


def test_who_writes_llama_cpps_penalty_beside_vllms_means_that_one():
    sampling = chat(repetition_penalty=1.5, repeat_penalty=1.1, repeat_last_n=0).params.sampling
    assert sampling == SamplingParams(repeat_penalty=1.1, repeat_last_n=0)
