"""`keep_alive`: how long a model stays while nobody asks, as Ollama's clients write it."""

import re

from edgellm.errors import BadRequest
from edgellm.server.body import INT32_MAX

_PARTS = r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h)"
_duration = re.compile(rf"[+-]?(?:{_PARTS})+")
_part = re.compile(r"(\d*\.?\d*)([a-zµμ]+)")
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


def keep_seconds(keep_alive: float | str | None) -> float | None:
    """Seconds, or a duration as Go writes it ("5m", "1h30m"); what is negative, or longer than a
    life, is for ever: infinite. None: nothing is said. Raises BadRequest."""
    if keep_alive is None or keep_alive == "":
        return None
    seconds = _parsed(keep_alive) if isinstance(keep_alive, str) else keep_alive
    return seconds if 0 <= seconds <= INT32_MAX else float("inf")


def _parsed(text: str) -> float:
    words = text.strip().lower()
    if _duration.fullmatch(words):
        seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _part.findall(words))
        return -seconds if words.startswith("-") else seconds
    try:
        return float(words)
    except ValueError:
        raise BadRequest(
            f"keep_alive: {text[:40]!r} is no time",
            hint='"5m", "1h30m", or seconds; 0 unloads, less than that never does',
            param="keep_alive",
        ) from None
