"""The thread that tokenizes long texts of questions, embeddings and ranks: a megabyte takes 0.4 s,
in which the loop gives everybody else a dozen tokens.

It is not the thread that prepares prompts: a client that has whole books counted delays nobody's
answer.
"""

from collections.abc import Callable

from edgellm.errors import BadRequest
from edgellm.runner.backend import Backend
from edgellm.runner.intake.beside import Read, Text, Tokens, attempted
from edgellm.runner.intake.inputs import inputs_of
from edgellm.runner.intake.questions import words_of
from edgellm.runner.messages import Embed, Infill, Rerank, Tokenize
from edgellm.runner.threads.compiling import LONG_CHARS
from edgellm.runner.threads.one_thread import OneThread


def read(backend: Backend, asked: Text) -> Tokens:
    """On any thread. Raises BadRequest, ContextTooLong."""
    if isinstance(asked, Embed | Rerank):
        return inputs_of(backend, asked)
    return words_of(backend, asked)


def is_long_text(asked: Text) -> bool:
    return _n_chars(asked) > LONG_CHARS


def _n_chars(asked: Text) -> int:
    match asked:
        case Tokenize():
            return len(asked.text)
        case Infill():
            others = sum(len(text) for _, text in asked.extra)
            return len(asked.prefix) + len(asked.suffix) + len(asked.prompt) + others
        case Embed():
            return sum(len(text) for text in asked.inputs if isinstance(text, str))
        case Rerank():  # a template has the query beside each document
            documents = asked.documents
            return len(asked.query) * len(documents) + sum(map(len, documents))


class Reading(OneThread):
    """`put` may be called from any thread. It gets each text once, unless that is forgotten."""

    def __init__(self, backend: Backend, put: Callable[[Read], None]) -> None:
        super().__init__()
        self._backend, self._put = backend, put
        self._waiting: dict[int, Text] = {}  # by request_id; the pool holds the numbers only

    @property
    def computes(self) -> bool:
        return bool(self._waiting)

    def read(self, asked: Text) -> None:
        self._waiting[asked.request_id] = asked
        self._pool.submit(self._read, asked.request_id)

    def forget(self, request_id: int) -> None:
        self._waiting.pop(request_id, None)

    def _read(self, request_id: int) -> None:
        asked = self._waiting.get(request_id)
        if asked is None:
            return  # forgotten
        result = attempted(lambda: read(self._backend, asked), _blamed)
        if self._waiting.pop(request_id, None):
            self._put(Read(asked, result))


def _blamed(error: Exception) -> BadRequest:
    return BadRequest(f"this text can't be made into tokens: {error}")
