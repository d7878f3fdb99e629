"""When a request wants to be served, and on whose account.

The body's `priority` (vLLM's field) is in its params already. The header X-Request-Deadline says
when its client stops waiting: seconds from now, or a time as HTTP (RFC 9110) or the internet
(RFC 3339) writes it. The API key decides whose share of the machine it takes.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from edgellm.chat.messages import GenerateParams
from edgellm.errors import BadRequest
from edgellm.keys import Key

HEADER = "x-request-deadline"


def claimed(
    headers: Mapping[str, str], key: Key, queue_ratio: float, params: GenerateParams
) -> GenerateParams:
    """Raises BadRequest for a deadline that can't be read."""
    header = headers.get(HEADER)
    left_s = None if header is None else seconds_left(header)
    claim = replace(
        params.claim,
        deadline_s=None if left_s is None else time.monotonic() + left_s,
        key=key.name,
        weight=key.weight,
        queue_ratio=queue_ratio,
    )
    return replace(params, claim=claim)


def seconds_left(text: str, now_s: Callable[[], float] = time.time) -> float:
    """Negative when it has passed. `now_s` is Unix time. Raises BadRequest."""
    words = text.strip()
    try:
        seconds = float(words)
    except ValueError:
        return _time(words).timestamp() - now_s()
    if not math.isfinite(seconds):
        raise _unreadable(words)
    return seconds


def _time(words: str) -> datetime:
    read = datetime.fromisoformat if words[:1].isdigit() else parsedate_to_datetime
    try:
        found = read(words)
    except (ValueError, OverflowError) as error:  # the latter for a year of many digits
        raise _unreadable(words) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _unreadable(words: str) -> BadRequest:
    return BadRequest(
        f"X-Request-Deadline: {words[:60]!r} is neither seconds nor a time",
        hint="30, or 2030-01-31T12:00:00Z, or Thu, 31 Jan 2030 12:00:00 GMT",
        param="X-Request-Deadline",
    )
