"""edgellm: probe the machine, pick the model file and its placement, serve it, show it.

As a library, in ten names:

    probe()                  this machine: devices, memory pools, CPU            -> Hardware
    plan(MODEL, …)           what would run, and how fast; nothing is downloaded -> Plan
    explain(plan)            a plan in words, as `edgellm plan` prints it        -> str
    serve(MODEL, …)          a server in the background, for a `with` block      -> Server
                             (several MODELs in a list take turns in memory)
    chat(MESSAGE, …)         an answer                                           -> Answer
    achat(MESSAGE, …)        the same, to be awaited; cancelled, it stops        -> Answer
    stream(MESSAGE, …)       the answer's text, piece by piece                   -> Iterator[str]
    pull(MODEL)              download it                                         -> Path
    list_models()            what is on this disk                                -> tuple
    EdgellmError             what every one of them raises on purpose

MODEL is a file, a repository (org/repo[:QUANT]), a catalog name (qwen3:8b), or "demo".

    import edgellm

    print(edgellm.explain(edgellm.plan("qwen3:0.6b", ctx=4096)))

    with edgellm.serve("demo") as server:
        print(edgellm.chat("Tell me a story", server=server))
        for text in server.stream("Another one"):
            print(text, end="")

`chat`, `achat` and `stream` without a `server` ask the one that runs here, or the one in
EDGELLM_HOST. Nothing heavy is imported before it is used.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "EdgellmError",
    "achat",
    "chat",
    "explain",
    "list_models",
    "plan",
    "probe",
    "pull",
    "serve",
    "stream",
]

if TYPE_CHECKING:
    from edgellm.api import (
        EdgellmError,
        achat,
        chat,
        explain,
        list_models,
        plan,
        probe,
        pull,
        serve,
        stream,
    )


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'edgellm' has no attribute {name!r}")
    from edgellm import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Library(ModuleType):
    """`probe` and `chat` are also rooms, and importing a module binds its name in its package.

    Here the function keeps the name: rooms are reached by `from edgellm.chat.x import y`.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Library
