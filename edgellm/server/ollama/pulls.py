"""What is told of a download in Ollama's words: a line for each step. Pure."""

import msgspec

from edgellm.server.ollama.wire import encode


class Status(msgspec.Struct):
    status: str


class Step(msgspec.Struct):
    """`digest` is the model's name: clients tell by it what belongs together."""

    status: str
    digest: str
    total: int
    completed: int


def begun() -> bytes:
    return encode(Status("pulling manifest")) + b"\n"


def step(name: str, done_bytes: int, total_bytes: int) -> bytes:
    return encode(Step(f"pulling {name}", name, total_bytes, done_bytes)) + b"\n"


def success(*, streams: bool) -> bytes:
    return encode(Status("success")) + (b"\n" if streams else b"")
