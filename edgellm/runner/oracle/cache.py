"""Answers of the oracle that were given before, kept on disk: a file for each model.

A model is named by its skeleton's digest, so the same header is known again wherever it came from.
An answer holds for the llama.cpp that gave it and for the rules that virtual devices follow; with
either changed the file is begun anew. A file that can't be read or written costs a question, never
an error.
"""

import contextlib
import hashlib
from pathlib import Path
from typing import Final

import msgspec

from edgellm.files import write_whole
from edgellm.runner.oracle.messages import Question, Row

_RULES: Final = 2  # raise it when oracle/rules.py or the question's meaning changes
_MOST_ANSWERS: Final = 2_000  # of one model
_MOST_BYTES: Final = 4 << 20

Answer = tuple[Row, ...]


class _File(msgspec.Struct):
    version: str
    answers: dict[str, Answer]


class OracleCache:
    def __init__(self, folder: Path, llama_version: str) -> None:
        self._folder = folder
        self._version = f"{llama_version}/{_RULES}"
        self._files: dict[str, _File] = {}

    def knows(self, model: str) -> bool:
        """Whether it was ever asked about."""
        return bool(self._file(model).answers)

    def get(self, model: str, question: Question) -> Answer | None:
        return self._file(model).answers.get(_key(question))

    def put(self, model: str, question: Question, rows: Answer) -> None:
        file = self._file(model)
        if len(file.answers) >= _MOST_ANSWERS:
            file.answers.clear()
        file.answers[_key(question)] = rows
        with contextlib.suppress(OSError):
            self._write(model, file)

    def _file(self, model: str) -> _File:
        if model not in self._files:
            self._files[model] = self._read(model) or _File(self._version, {})
        return self._files[model]

    def _read(self, model: str) -> _File | None:
        try:
            with (self._folder / model).open("rb") as file:
                data = file.read(_MOST_BYTES)
            told = msgspec.msgpack.decode(data, type=_File)
        except (OSError, msgspec.MsgspecError):
            return None
        return told if told.version == self._version else None

    def _write(self, model: str, file: _File) -> None:
        """Whole or not at all: another edgellm may read it at this moment."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._folder / model, msgspec.msgpack.encode(file))


def _key(question: Question) -> str:
    """Everything but where the skeleton happens to lie."""
    asked = msgspec.structs.replace(question, path="")
    return hashlib.sha256(msgspec.msgpack.encode(asked)).hexdigest()[:32]
