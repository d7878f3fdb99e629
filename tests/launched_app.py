"""Stands in for the apps of profiles/apps.toml: finds the server as each of them does, and asks it
by the real client library. It is strict: what it isn't told, it doesn't guess.

    python launched_app.py NAME [ARGS]     NAME is the app's; what came of it is a line of JSON
"""

import json
import os
import sys
import tomllib
from pathlib import Path

import anthropic
import openai

QUESTION = [{"role": "user", "content": "Tell me a story"}]


def claude(arguments):
    assert "ANTHROPIC_API_KEY" not in os.environ
    model = after(arguments, "--model")
    assert model == os.environ["ANTHROPIC_MODEL"]
    client = anthropic.Anthropic()  # ANTHROPIC_BASE_URL, ANTHROPIC_AUTH_TOKEN
    with client.messages.stream(model=model, messages=QUESTION, max_tokens=8) as stream:
        return stream.get_final_text()


def codex(arguments):
    settings = {}
    for i, word in enumerate(arguments):
        if word == "-c":
            name, _, text = arguments[i + 1].partition("=")
            settings[name] = toml_or_text(text)
    provider = settings["model_provider"]
    told = {
        name.removeprefix(f"model_providers.{provider}."): value for name, value in settings.items()
    }
    assert told["wire_api"] == "responses"
    assert isinstance(settings["model_context_window"], int)
    client = openai.OpenAI(base_url=told["base_url"], api_key=os.environ[told["env_key"]])
    answer = client.responses.create(
        model=after(arguments, "-m"), input=QUESTION, max_output_tokens=16
    )
    return answer.output_text


def opencode(arguments):
    told = json.loads(os.environ["OPENCODE_CONFIG_CONTENT"])
    name, _, model = told["model"].partition("/")
    provider = told["provider"][name]
    assert isinstance(provider["models"][model]["limit"]["context"], int)
    variable = provider["options"]["apiKey"].removeprefix("{env:").removesuffix("}")
    return chat(model, provider["options"]["baseURL"], os.environ[variable])


def qwen(arguments):
    assert after(arguments, "--auth-type") == "openai"
    return chat(after(arguments, "--model"))  # OPENAI_BASE_URL, OPENAI_API_KEY


def aider(arguments):
    model = after(arguments, "--model")
    facts = json.loads(Path(after(arguments, "--model-metadata-file")).read_text())
    assert facts[model]["max_input_tokens"] > 0
    return chat(model.removeprefix("openai/"), os.environ["OPENAI_API_BASE"])


def mini(arguments):
    assert os.environ["MSWEA_CONFIGURED"] == "true"
    model = after(arguments, "--model").removeprefix("openai/")
    return chat(model, os.environ["OPENAI_API_BASE"])


def gptme(arguments):
    return chat(after(arguments, "--model").removeprefix("local/"))


def sgpt(arguments):
    return chat(after(arguments, "--model"), os.environ["API_BASE_URL"])


def goose(arguments):
    assert os.environ["GOOSE_PROVIDER"] == "openai"
    path = os.environ["OPENAI_BASE_PATH"].removesuffix("/chat/completions")
    return chat(os.environ["GOOSE_MODEL"], f"{os.environ['OPENAI_HOST']}/{path}")


APPS = {
    one.__name__: one for one in (claude, codex, opencode, qwen, aider, mini, gptme, sgpt, goose)
}


def chat(model, base_url=None, api_key=None):
    client = openai.OpenAI(base_url=base_url, api_key=api_key)
    answer = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=8)
    return answer.choices[0].message.content


def after(arguments, flag):
    return arguments[arguments.index(flag) + 1]


def toml_or_text(text):
    """As Codex reads what stands behind -c NAME=."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


if __name__ == "__main__":
    _, name, *arguments = sys.argv
    print(json.dumps({"said": APPS[name](arguments), "last": arguments[-1:]}))
    sys.exit(7)
