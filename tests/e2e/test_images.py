"""Pictures through the real openai package, a real server and a real projector of random weights:
what it says of a picture is nonsense, but another one for another picture."""

import itertools
import json
import threading
import time
import zlib

import httpx2
import openai
import psutil
import pytest
from cli_runs import wait_for
from live import live_server
from pictures import data_url, image_part, png, png_of
from projector_files import projector_bytes
from real_model import SHARED_MODELS, demo_path, needs_shared_models

pytestmark = pytest.mark.model

RED, BLUE = png(colour=(255, 0, 0)), png(colour=(0, 0, 255))
RECORDED = SHARED_MODELS / "stories260K-pad-mmproj-random-f16.gguf"


BOTH = ["demo", pytest.param("recorded", marks=needs_shared_models)]


@pytest.fixture(scope="module", params=BOTH)
def live(request, tmp_path_factory):
    """Split KV and no flash attention: there an answer's numbers depend on nobody else's."""
    if request.param == "demo":
        model, projector = demo_path(), tmp_path_factory.mktemp("projector") / "mmproj.gguf"
        projector.write_bytes(projector_bytes())
    else:
        model, projector = SHARED_MODELS / "stories260K-pad-f16.gguf", RECORDED
    with live_server(model, "sees", projector=str(projector), kv_unified=False) as server:
        yield server


@pytest.fixture
def client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def question(*parts):
    texts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": texts}


ABOUT_RED = [question("Look: ", image_part(RED), " What is it?")]
ABOUT_BLUE = [question("Look: ", image_part(BLUE), " What is it?")]


def large(i):
    """Takes a good part of a second to decode. Each `i` gives another one."""
    return image_part(png(4800, 4000, (i, 255, 0)))


def chat(client, messages, n=40, **more):
    values = {"model": "sees", "messages": messages, "temperature": 0, "max_tokens": n}
    return client.chat.completions.create(**(values | more))


def text(client, messages, **more):
    return chat(client, messages, **more).choices[0].message.content


def test_an_answer_depends_on_the_picture_and_on_nothing_else(client):
    red, blue = text(client, ABOUT_RED), text(client, ABOUT_BLUE)
    assert red != blue
    assert text(client, ABOUT_RED) == red
    streamed = chat(client, ABOUT_BLUE, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in streamed) == blue


def test_text_and_pictures_side_by_side_say_what_they_say_alone(tmp_path):
    """Batch-invariant: to the last bit, whoever runs beside."""
    path = tmp_path / "mmproj.gguf"
    path.write_bytes(projector_bytes())
    asked = [ABOUT_RED, [{"role": "user", "content": "Tell me a story."}], ABOUT_BLUE]
    choices = {"projector": str(path), "kv_unified": False, "batch_invariant": True}
    with (
        live_server(demo_path(), "sees", **choices) as live,
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="none") as client,
    ):
        alone, found = [text(client, one) for one in asked], {}
        threads = [
            threading.Thread(target=lambda i=i: found.update({i: text(client, asked[i % 3])}))
            for i in range(9)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [found[i] for i in range(9)] == alone * 3


def test_the_second_turn_finds_the_picture_in_the_cache(client):
    first = chat(client, ABOUT_RED)
    said = {"role": "assistant", "content": first.choices[0].message.content}
    second = chat(client, [*ABOUT_RED, said, question("And then?")])
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 1
    unseen = [question("Look: ", image_part(png(colour=(9, 200, 99))), " What is it?")]
    other = chat(client, [*unseen, said, question("And then?")])
    assert other.usage.prompt_tokens_details.cached_tokens < first.usage.prompt_tokens - 16


def first_logprob(client, *files):
    fresh = {"extra_body": {"cache_prompt": False}}
    answer = chat(client, [question(*map(image_part, files))], n=1, logprobs=True, **fresh)
    return answer.choices[0].logprobs.content[0].logprob


def test_several_pictures_are_each_a_part_of_the_prompt(client):
    n_one = chat(client, [question(image_part(RED))], n=1).usage.prompt_tokens
    n_two = chat(client, [question(image_part(RED), image_part(BLUE))], n=1).usage.prompt_tokens
    assert n_two >= n_one + 16
    assert first_logprob(client, RED, BLUE) == first_logprob(client, RED, BLUE)
    assert first_logprob(client, RED, BLUE) != first_logprob(client, BLUE, RED)


@pytest.mark.parametrize(
    ("parts", "place", "words"),
    [
        (["x", image_part(RED[:60])], 1, "cut off"),
        ([image_part(RED), image_part(b"\xff\xd8\xff\xc0\0\x0b\x08\0\x08\0\x08\1")], 1, "damaged"),
        ([image_part(png_of(9000, 9000, b""))], 0, "9000 × 9000"),
        ([image_part(png_of(9, 9, b""))], 0, "0 of 252"),
        ([image_part(RED)] * 17, 16, "more than 16"),
        ([{"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}], 0, "not fetched"),
        ([image_part(b"GIF89a\x08\0\x08\0 and nothing")], 0, "damaged"),
    ],
    ids=["cut off", "no JPEG", "huge", "empty", "too many", "an address", "no GIF"],
)
def test_a_bad_picture_is_the_clients_own_error_and_named(client, parts, place, words):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, [question(*parts)])
    assert words in caught.value.body["message"]
    assert caught.value.body["param"] == f"messages[0].content[{place}]"
    assert text(client, ABOUT_RED)


def test_a_small_file_that_inflates_to_very_much_is_refused(live, client):
    """By the processor's seconds of both processes: a part of what it takes to inflate it."""
    packed = zlib.compress(bytes(512 << 20))
    processes = psutil.Process(), psutil.Process(live.engine.pid)
    begun_s = cpu_s(*processes)
    zlib.decompress(packed)
    inflating_s, begun_s = cpu_s(*processes) - begun_s, cpu_s(*processes)
    with pytest.raises(openai.BadRequestError, match="more than the 252 bytes"):
        chat(client, [question(image_part(png_of(9, 9, packed)))])
    assert cpu_s(*processes) - begun_s < inflating_s / 2


def cpu_s(*processes):
    times = [process.cpu_times() for process in processes]
    return sum(one.user + one.system for one in times)


def test_the_models_list_says_that_it_sees(client):
    assert "multimodal" in client.models.retrieve("sees").model_extra["capabilities"]
    root = str(client.base_url).removesuffix("/v1/")
    assert client.get(f"{root}/props", cast_to=object)["modalities"]["vision"] is True


def test_a_model_without_a_projector_says_so():
    with (
        live_server() as blind,
        openai.OpenAI(base_url=f"{blind.url}/v1", api_key="none") as client,
        pytest.raises(openai.BadRequestError, match="--mmproj"),
    ):
        chat(client, ABOUT_RED, model="demo")


def test_running_streams_go_on_while_a_picture_is_looked_at(client):
    """Of a few pictures one is enough: a hiccup of the machine stops everybody's words."""
    assert any(longest_silence(client, large(10 + i)) < 0.5 for i in range(4))


def longest_silence(client, picture):
    """In a stream, while somebody asks about a picture; as a part of the time that took."""
    stream = chat(client, [{"role": "user", "content": "Tell me a story."}], n=400, stream=True)
    arrivals, done = [], threading.Event()
    asking = threading.Thread(target=lambda: (chat(client, [question(picture)], n=1), done.set()))
    begun_s = time.monotonic()
    asking.start()
    while not done.is_set():
        for _ in stream:
            arrivals.append(time.monotonic())
            if done.is_set():
                break
        stream = chat(client, [{"role": "user", "content": "Another."}], n=400, stream=True)
    took_s = time.monotonic() - begun_s
    asking.join()
    stream.close()
    return max(after - before for before, after in itertools.pairwise(arrivals)) / took_s


def test_who_leaves_while_the_picture_is_looked_at_is_forgotten(live, client):
    with httpx2.Client(base_url=live.url, trust_env=False) as http:
        for i in (1, 2, 3):
            body = {"model": "sees", "messages": [question(large(i))], "max_tokens": 400}
            with pytest.raises(httpx2.TimeoutException):
                http.post("/v1/chat/completions", json=body, timeout=0.1)
    assert text(client, ABOUT_RED)  # behind them in the queue
    wait_for(lambda: live.engine.gauge.n_running + live.engine.gauge.n_waiting == 0)


def test_the_url_may_be_of_any_type_of_image(client):
    part = {"type": "image_url", "image_url": {"url": data_url(RED, "image/*"), "detail": "low"}}
    assert text(client, [question("Look: ", part, " What is it?")]) == text(client, ABOUT_RED)
    assert json.loads(chat(client, ABOUT_RED).model_dump_json())["usage"]["prompt_tokens"] > 16


def test_run_shows_a_picture_to_a_model_that_sees(home, tmp_path):
    model, picture = tmp_path / "m-Q8_0.gguf", tmp_path / "red.png"
    model.write_bytes(demo_path().read_bytes())
    picture.write_bytes(RED)
    asked = ("run", str(model), "--image", str(picture), "--temperature", "0", "What is it?")
    blind = home.run(*asked)
    assert blind.code != 0
    assert "sees no pictures" in blind.err
    (tmp_path / "mmproj-F16.gguf").write_bytes(projector_bytes())
    seeing = home.run(*asked)
    assert (seeing.code, bool(seeing.out.strip())) == (0, True)
    assert "No such file" in home.run("run", "demo", "--image", "none.png", "?").err
