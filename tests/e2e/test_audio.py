"""Sound through the real openai package, a real server and a real projector of random weights: what
it hears is nonsense, but another one in another sound."""

import io
import json

import httpx2
import openai
import pytest
from cli_runs import wait_for
from live import live_server
from pictures import image_part, png
from projector_files import audio_projector_bytes, projector_bytes
from real_model import demo_path
from sound_files import audio_part, flac, mp3, wav

pytestmark = pytest.mark.model

LOW, HIGH = wav(1, 220), wav(1, 3000)
ROWS = 30  # of half a minute, through this projector


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """Split KV and no flash attention: there an answer's numbers depend on nobody else's."""
    projector = tmp_path_factory.mktemp("projector") / "mmproj.gguf"
    projector.write_bytes(audio_projector_bytes())
    choices = {"projector": str(projector), "modalities": ("audio",), "kv_unified": False}
    with live_server(demo_path(), "hears", **choices) as server:
        yield server


@pytest.fixture
def client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def question(*parts):
    texts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": texts}


def about(sound):
    return [question("Listen: ", audio_part(sound), " What is it?")]


def chat(client, messages, n=24, **more):
    values = {"model": "hears", "messages": messages, "temperature": 0, "max_tokens": n}
    return client.chat.completions.create(**(values | more))


def text(client, messages, **more):
    return chat(client, messages, **more).choices[0].message.content


def test_an_answer_depends_on_the_sound_and_on_nothing_else(client):
    low, high = text(client, about(LOW)), text(client, about(HIGH))
    assert low != high
    assert text(client, about(LOW)) == low
    streamed = chat(client, about(HIGH), stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in streamed) == high


def test_a_sound_is_as_many_tokens_as_its_half_minutes_take(client):
    none = chat(client, [question("Listen: ", " What is it?")], n=1).usage.prompt_tokens
    one, two = (
        chat(client, about(wav(seconds, rate=8_000)), n=1).usage.prompt_tokens
        for seconds in (1, 31)
    )
    assert two - one == ROWS
    assert ROWS - 2 <= one - none <= ROWS + 2  # the text around it is cut otherwise


def test_the_second_turn_finds_the_sound_in_the_cache(client):
    first = chat(client, about(LOW))
    said = {"role": "assistant", "content": first.choices[0].message.content}
    second = chat(client, [*about(LOW), said, question("And then?")])
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 1
    other = chat(client, [*about(wav(1, 977)), said, question("And then?")])
    assert other.usage.prompt_tokens_details.cached_tokens < first.usage.prompt_tokens - ROWS


def test_responses_hear_too(client):
    content = [{"type": "input_text", "text": "Listen: "}, audio_part(LOW)]
    found = client.responses.create(
        model="hears", input=[{"role": "user", "content": content}], max_output_tokens=24,
        temperature=0,
    )  # fmt: skip
    answer = chat(client, [question("Listen: ", audio_part(LOW))])
    assert found.output_text == answer.choices[0].message.content
    assert found.usage.input_tokens == answer.usage.prompt_tokens
    assert answer.usage.prompt_tokens_details.cached_tokens == answer.usage.prompt_tokens - 1
    kept = client.responses.input_items.list(found.id).data[0].content[1]
    assert (kept.type, kept.input_audio["format"]) == ("input_audio", "wav")


@pytest.mark.parametrize(
    ("parts", "place", "words"),
    [
        (["x", audio_part(wav()[:-9])], 1, "cut off"),
        ([audio_part(LOW), audio_part(wav(0.02))], 1, "0.020 s"),
        ([audio_part(wav(3 * 1801, rate=8_000, hz=0)[:9])], 0, "no sound"),
        ([audio_part(flac(0.2, n_samples=1 << 35))], 0, "more than the 1800 s"),
        ([audio_part(b"OggS" + bytes(99), "ogg")], 0, "no sound that is read here"),
        ([audio_part(LOW)] * 17, 16, "more than 16"),
        ([{"type": "input_audio", "input_audio": {"data": "http://x/"}}], 0, "base64"),
    ],
)
def test_a_bad_sound_is_the_clients_own_error_and_named(client, parts, place, words):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, [question(*parts)])
    assert words in caught.value.body["message"]
    assert caught.value.body["param"] == f"messages[0].content[{place}]"
    assert text(client, about(LOW))


def test_more_than_the_context_holds_is_refused_before_it_is_encoded(client):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, about(wav(600, rate=8_000)))
    assert caught.value.code == "context_length_exceeded"
    assert (
        "messages[0].content[1]: prompt is too long: at least 600 tokens >"
        in caught.value.body["message"]
    )


def test_who_leaves_is_forgotten(live, client):
    with httpx2.Client(base_url=live.url, trust_env=False) as http:
        for hz in (100, 200, 300):
            body = {"model": "hears", "messages": about(wav(290, hz, rate=8_000))}
            with pytest.raises(httpx2.TimeoutException):
                http.post("/v1/chat/completions", json=body, timeout=0.3)
    assert text(client, about(LOW))  # behind them in the queue
    wait_for(lambda: live.engine.gauge.n_running + live.engine.gauge.n_waiting == 0)


def test_a_model_that_hears_says_so_and_sees_nothing(live, client):
    assert "multimodal" in client.models.retrieve("hears").model_extra["capabilities"]
    told = httpx2.get(f"{live.url}/props", trust_env=False).json()["modalities"]
    assert told == {"vision": False, "audio": True, "video": False}
    with pytest.raises(openai.BadRequestError, match=r"sees no pictures.*for something else"):
        chat(client, [question(image_part(png()))])


def test_a_model_without_a_projector_says_what_to_serve():
    with (
        live_server() as deaf,
        openai.OpenAI(base_url=f"{deaf.url}/v1", api_key="none") as client,
    ):
        with pytest.raises(openai.BadRequestError, match=r"hears no sound.*ultravox"):
            chat(client, about(LOW), model="demo")
        with pytest.raises(openai.BadRequestError, match=r"hears no sound.*ultravox") as caught:
            transcribed(client, model="demo")
    assert caught.value.param == "file"


def transcribed(client, sound=LOW, **more):
    given = {"model": "hears", "file": ("a.wav", sound), "extra_body": {"max_tokens": 24}}
    return client.audio.transcriptions.create(**(given | more))


def test_a_recording_is_transcribed_by_llama_servers_instruction(client):
    found = transcribed(client)
    assert found.text == text(client, [question("Transcribe audio to text", audio_part(LOW))])
    assert found.usage.type == "tokens"
    assert found.usage.output_tokens == 24
    assert found.usage.total_tokens == found.usage.input_tokens + 24


def test_language_and_prompt_are_asked(client):
    found = transcribed(client, language="de", prompt="Write down what is said")
    words = "Write down what is said (language: de)"
    assert found.text == text(client, [question(words, audio_part(LOW))])


def test_it_comes_as_a_stream_too(client):
    events = list(transcribed(client, stream=True))
    assert {event.type for event in events[:-1]} == {"transcript.text.delta"}
    assert events[-1].type == "transcript.text.done"
    told = "".join(event.delta for event in events[:-1])
    assert told == events[-1].text == transcribed(client).text
    assert events[-1].usage.output_tokens == 24


def test_its_other_formats_tell_what_is_known(client):
    plain = transcribed(client).text
    assert transcribed(client, response_format="text") == plain + "\n"
    verbose = transcribed(client, mp3(40), response_format="verbose_json", language="en")
    assert verbose.duration == pytest.approx(40 * 1152 / 44_100, abs=1e-3)
    assert (verbose.language, verbose.segments) == ("en", None)


@pytest.mark.parametrize(
    ("more", "param", "words"),
    [
        ({"response_format": "srt"}, "response_format", "srt is not served"),
        ({"response_format": "text", "stream": True}, "response_format", "with stream"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities[]", "not served"),
        ({"include": ["logprobs"]}, "include[]", "not served"),
        ({"temperature": 3}, "temperature", "from 0 to 2"),
        ({"file": ("a.wav", b"hello")}, "file", "no sound"),
        ({"file": ("a.wav", LOW[:-9])}, "file", "cut off"),
        ({"file": ("a.wav", LOW[:-9]), "response_format": "verbose_json"}, "file", "cut off"),
    ],
)
def test_what_can_not_be_transcribed_is_named(client, more, param, words):
    with pytest.raises(openai.BadRequestError) as caught:
        transcribed(client, **more)
    assert caught.value.param == param
    assert words in caught.value.body["message"]


def test_a_form_is_needed(live):
    with httpx2.Client(base_url=live.url, trust_env=False) as http:
        found = http.post("/v1/audio/transcriptions", json={"model": "hears"})
        assert (found.status_code, found.json()["error"]["code"]) == (415, "no_form")
        found = http.post("/audio/transcriptions", files={"other": io.BytesIO(LOW)})
        assert (found.status_code, found.json()["error"]["param"]) == (400, "file")


def test_a_page_that_does_not_say_its_origin_sends_no_form(live):
    with httpx2.Client(base_url=live.url, trust_env=False) as http:
        for headers in ({"Referer": "http://evil/"}, {"Origin": "http://evil"}):
            files = {"file": io.BytesIO(LOW)}
            found = http.post("/v1/audio/transcriptions", files=files, headers=headers)
            assert (found.status_code, found.json()["error"]["code"]) == (403, "foreign_origin")


def test_run_plays_a_sound_to_a_model_that_hears(home, tmp_path):
    model, sound = tmp_path / "m-Q8_0.gguf", tmp_path / "low.wav"
    model.write_bytes(demo_path().read_bytes())
    sound.write_bytes(LOW)
    asked = ("run", str(model), "--audio", str(sound), "--max-tokens", "8", "What is it?")
    (tmp_path / "mmproj-F16.gguf").write_bytes(projector_bytes())
    seeing = home.run(*asked)
    assert seeing.code != 0
    assert "hears no sound" in seeing.err
    (tmp_path / "mmproj-F16.gguf").write_bytes(audio_projector_bytes())
    hearing = home.run(*asked)
    assert (hearing.code, bool(hearing.out.strip())) == (0, True)
    assert "no sound that is read" in home.run("run", "demo", "--audio", str(model), "?").err
    planned = json.loads(home.run("plan", str(model), "--json").out)["plan"]
    assert planned["projector"]["modalities"] == ["audio"]
    assert any("hears sound through mmproj-F16.gguf" in reason for reason in planned["reasons"])
