"""What threads beside the loop's have done for it. It comes through the inbox, like messages."""

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
    """Its structure is compiled and its pictures are encoded; or that failed."""

    request: Generate
    result: Mask | EdgellmError | None
    pictures: tuple[Placed, ...] = ()  # if there are any, the request's prompt is tokens by now

    @property
    def request_id(self) -> int:
        return self.request.request_id


@dataclass(frozen=True, slots=True)
class Fetched:
    """A blob was read from disk."""

    blob: int
    elapsed_s: float | None  # None: it couldn't be read


@dataclass(frozen=True, slots=True)
class Read:
    """A long text has become tokens; or that failed."""

    request: Text
    result: Tokens | EdgellmError

    @property
    def request_id(self) -> int:
        return self.request.request_id


@dataclass(frozen=True, slots=True)
class AdapterLoaded:
    """An adapter has been loaded; or that failed."""

    asked: LoadAdapter
    error: EdgellmError | None = None

    @property
    def request_id(self) -> int:
        return self.asked.request_id


FromBeside: TypeAlias = AdapterLoaded | Compiled | Fetched | Read


def attempted(
    work: Callable[[], T], blame: Callable[[Exception], EdgellmError]
) -> T | EdgellmError:
    """What `work` returns, or the EdgellmError that it raises; `blame` has the words for any other
    exception. Nothing may be raised on such a thread: whoever waits must be answered, whatever
    native code throws."""
    try:
        return work()
    except EdgellmError as error:
        return error
    except Exception as error:  # noqa: BLE001 - as said above
        return blame(error)
