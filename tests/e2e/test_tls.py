"""A server with a certificate, as a user has it: the commands, and the clients that people use."""

import json
import ssl

import anthropic
import httpx2
import ollama
import openai
import pytest
from certificates import AUTHORITY, FOLDER
from cli_runs import Home

pytestmark = pytest.mark.model

HELLO = [{"role": "user", "content": "Hello!"}]
PAIR = ("--ssl-cert-file", str(FOLDER / "server.pem"), "--ssl-key-file", str(FOLDER / "server.key"))


@pytest.fixture(scope="module")
def home(tmp_path_factory, cache):
    home = Home(tmp_path_factory.mktemp("home"), cache)
    with home.serving("serve", "demo", "--port", "0", *PAIR) as live:
        home.live = live
        yield home


@pytest.fixture
def url(home):
    (server,) = json.loads(home.run("ps", "--json").out)
    assert server["url"].startswith("https://127.0.0.1:")
    return server["url"]


@pytest.fixture
def http():
    with httpx2.Client(verify=ssl.create_default_context(cafile=AUTHORITY)) as http:
        yield http


def test_openais_client_streams(url, http):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", http_client=http)
    stream = client.chat.completions.create(model="", messages=HELLO, stream=True, max_tokens=20)
    assert "".join(one.choices[0].delta.content or "" for one in stream if one.choices)


def test_anthropics_client_answers(url, http):
    client = anthropic.Anthropic(base_url=url, api_key="none", http_client=http)
    answer = client.messages.create(model="demo", messages=HELLO, max_tokens=20)
    assert answer.content[0].text


def test_ollamas_client_answers(url):
    with ollama.Client(url, verify=ssl.create_default_context(cafile=AUTHORITY)) as client:
        answer = client.chat(model="demo", messages=HELLO, options={"num_predict": 20})
    assert answer.message.content


def test_the_commands_find_it_and_believe_it(home, url):
    assert home.run("run", "demo", "Hello!", "--max-tokens", "20").code == 0
    bench = home.run("bench", "-p", "32", "-n", "4", "--json")
    assert bench.code == 0, bench.err
    again = home.run("serve", "demo", "--port", url.rpartition(":")[2])
    assert again.code == 11
    assert f"at {url} already" in again.err


def test_who_asks_by_its_address_says_by_which_authority(home, url, tmp_path):
    stranger = Home(tmp_path, tmp_path)  # who has no word of that server
    here = url.replace("127.0.0.1", "localhost")
    refused = stranger.run("ps", EDGELLM_HOST=here)
    assert (refused.code, "can't be believed" in refused.err) == (12, True)
    believed = stranger.run("ps", EDGELLM_HOST=here, SSL_CERT_FILE=str(AUTHORITY))
    assert believed.code == 0, believed.err
    assert here in believed.out


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("expired.pem", "expired.key", "certificate has expired"),
        ("box.pem", "server.key", "is another certificate's"),
        ("server.pem", "locked.key", "is locked by a passphrase"),
    ],
)
def test_a_pair_that_is_none_ends_the_start_with_words(home, cert, key, words):
    files = ("--ssl-cert-file", str(FOLDER / cert), "--ssl-key-file", str(FOLDER / key))
    ended = home.run("serve", "demo", "--port", "0", *files)
    assert ended.code == 78
    assert words in ended.err
