"""One value from one of the kernel's files; None when it doesn't tell."""

from edgellm.probe.sources import Silence, Sources


def text(sources: Sources, path: str) -> str | None:
    answer = sources.read_text(path)
    return None if isinstance(answer, Silence) else answer.strip()


def number(sources: Sources, path: str) -> int | None:
    try:
        return int(text(sources, path) or "")
    except ValueError:
        return None
