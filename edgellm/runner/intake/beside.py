"""What threads beside the loop's have done for it. It comes through the inbox, as messages do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from edgellm.errors import EdgellmError
from edgellm.runner.backend import Input
from edgellm.runner.batch import Mask
from edgellm.runner.intake.pictures import Placed
from edgellm.runner.messages import (
    Embed,
    Generate,
    Infill,
    LoadAdapter,
    Rerank,
    Tokenize,
    Tokenized,
)

T = TypeVar("T")
Text: TypeAlias = Tokenize | Infill | Embed | Rerank
Tokens: TypeAlias = Tokenized | list[Input]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A structure is ready and pictures are seen, or can't be."""

    request: Generate
    result: Mask | EdgellmError | None
    pictures: tuple[Placed, ...] = ()  # among the request's prompt, which is tokens then

    @property
    def request_id(self) -> int:
        return self.request.request_id


@dataclass(frozen=True, slots=True)
class Fetched:
    """A blob was read from disk in so many seconds, or couldn't be."""

    blob: int
    elapsed_s: float | None


@dataclass(frozen=True, slots=True)
class Read:
    """A long text has become tokens, or can't."""

    request: Text
    result: Tokens | EdgellmError

    @property
    def request_id(self) -> int:
        return self.request.request_id


@dataclass(frozen=True, slots=True)
class AdapterLoaded:
    """It is there, or can't be."""

    asked: LoadAdapter
    error: EdgellmError | None = None

    @property
    def request_id(self) -> int:
        return self.asked.request_id


FromBeside: TypeAlias = AdapterLoaded | Compiled | Fetched | Read


def attempted(
    work: Callable[[], T], blame: Callable[[Exception], EdgellmError]
) -> T | EdgellmError:
    """What `work` returns or refuses; `blame` has the words for anything else. On such a thread
    nothing may be raised: who waits must be answered, whatever native code throws."""
    try:
        return work()
    except EdgellmError as error:
        return error
    except Exception as error:  # noqa: BLE001 - as said above
        return blame(error)
