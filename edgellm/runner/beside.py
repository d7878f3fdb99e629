"""What threads beside the loop's have done for it. It comes through the inbox, as messages do."""

from dataclasses import dataclass
from typing import TypeAlias

from edgellm.errors import EdgellmError
from edgellm.runner.backend import Input
from edgellm.runner.batch import Mask
from edgellm.runner.messages import (
    Embed,
    Generate,
    Infill,
    LoadAdapter,
    Rerank,
    Tokenize,
    Tokenized,
)
from edgellm.runner.pictures import Placed

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
