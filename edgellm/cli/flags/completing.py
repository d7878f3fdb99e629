"""What the Tab key offers: models, boards, and the words that an option knows.

A shell starts the program anew for each Tab, so the parts that a list takes are imported when it
is asked for, and nothing here asks a network. An answer that can't be had is no answer: nobody
wants an error in the line that he is typing.
"""

import contextlib
import os
from collections.abc import Callable

from edgellm.errors import EdgellmError

Offer = Callable[[str], list[str]]


def words(*known: str) -> Offer:
    def offered(incomplete: str) -> list[str]:
        return [word for word in known if word.startswith(incomplete)]

    return offered


def models(incomplete: str) -> list[str]:
    """Those of this disk first, then the catalog's."""
    return [*here(incomplete), *in_catalog(incomplete)]


def here(incomplete: str) -> list[str]:
    """What can be served without a download."""
    return [*words("demo")(incomplete), *downloaded(incomplete), *elsewhere(incomplete)]


def elsewhere(incomplete: str) -> list[str]:
    """What other tools have."""
    from edgellm.models.elsewhere.tools import found_models

    with contextlib.suppress(EdgellmError, OSError):
        return words(*(model.name for model in found_models()))(incomplete)
    return []


def downloaded(incomplete: str) -> list[str]:
    """By what `list` calls them; hf.co/ may be left out, and is where nothing is typed yet. But for
    the name of a file: without it that is a path."""
    from edgellm.cli.preparing.store import store_of
    from edgellm.config import load_config
    from edgellm.models.hubs import without_prefix

    names = []
    with contextlib.suppress(EdgellmError, OSError):
        names = [model.name for model in store_of(load_config(os.environ, {})).list()]
    short = [name if name.lower().endswith(".gguf") else without_prefix(name) for name in names]
    return words(*dict.fromkeys([*short, *(names if incomplete else ())]))(incomplete)


def in_catalog(incomplete: str) -> list[str]:
    from edgellm.models.known import catalog

    with contextlib.suppress(EdgellmError):
        return [*catalog.names(incomplete)]
    return []


def apps(incomplete: str) -> list[str]:
    from edgellm.cli.launching.apps import load

    with contextlib.suppress(EdgellmError):
        return words(*(app.name for app in load()))(incomplete)
    return []


def boards(incomplete: str) -> list[str]:
    from edgellm.probe.known.boards import board_names

    with contextlib.suppress(EdgellmError):
        return words(*board_names())(incomplete)
    return []


def devices(incomplete: str) -> list[str]:
    """As one word, which a shell takes without quotes; with its blanks where one was typed. In
    small letters where those were typed: the name is known by either."""
    from edgellm.probe.known import catalog

    names = [row.name for row in catalog.load().device]
    if " " not in incomplete:  # a maker's name is only known as a word of its own
        names = [name.replace(" ", "") for name in names if not name.startswith("Radeon ")]
    if incomplete.islower():
        names = [name.lower() for name in names]
    return words(*dict.fromkeys(names))(incomplete)
