"""The thread that looks at pictures, and hears sound, beside the loop's: an encoder takes seconds
where a step takes hundredths of one. It makes the text around them into tokens, too.

One file after the other. What waits is bounded in bytes, and a client that has left costs no more
than the picture, or the half minute of sound, that is being encoded. While it has work, `computes`
says so, and the loop leaves it a core (llama/compute.py); of the others, on Linux, its threads take
what decoding leaves (nice), and all of them on an idle machine.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from edgellm.chat.pictures import Pictures
from edgellm.errors import BadRequest, EdgellmError, Overloaded
from edgellm.runner.batch import Mask
from edgellm.runner.intake.beside import Compiled, attempted
from edgellm.runner.intake.pictures import Looks, Piece, Placed, placed, woven
from edgellm.runner.intake.prompt import Tokenize, texts_of
from edgellm.runner.messages import Generate
from edgellm.runner.threads.one_thread import OneThread

_MAX_WAITING_BYTES = 256 << 20  # of files


@dataclass(frozen=True, slots=True)
class _Asked:
    request: Generate  # without its files
    mask: Mask | None
    pictures: Pictures


class Looker(OneThread):
    """`see` may take seconds and raises BadRequest; it asks meanwhile whether it is wanted still,
    and gives None if not. `put` may be called from any thread."""

    def __init__(
        self,
        see: Callable[[bytes, Callable[[], bool]], tuple[Piece, ...] | None],
        tokenize: Tokenize,
        put: Callable[[Compiled], None],
    ) -> None:
        super().__init__(is_nicer=True)
        self._see, self._tokenize, self._put = see, tokenize, put
        self._waiting: dict[int, _Asked] = {}  # by request_id; the pool holds the numbers only

    @property
    def computes(self) -> bool:
        return bool(self._waiting)

    def look(self, request: Generate, mask: Mask | None = None) -> None:
        pictures = request.params.pictures
        assert pictures
        n_bytes = sum(asked.pictures.n_bytes for asked in list(self._waiting.values()))
        if self._waiting and n_bytes + pictures.n_bytes > _MAX_WAITING_BYTES:
            busy = f"pictures or sounds of {len(self._waiting)} requests are waiting to be encoded"
            self._put(Compiled(request, Overloaded(busy, hint="come back later")))
            return
        self._waiting[request.request_id] = _Asked(_without_files(request), mask, pictures)
        self._pool.submit(self._look, request.request_id)

    def forget(self, request_id: int) -> None:
        """Its files are let go, the one that is being looked at when its next piece would begin."""
        self._waiting.pop(request_id, None)

    def _look(self, request_id: int) -> None:
        asked = self._waiting.get(request_id)
        if asked is None:
            return  # forgotten
        seen, mask, names = asked.request, asked.mask, asked.pictures.names
        del asked  # what is forgotten meanwhile is not to be held by this
        made = attempted(lambda: self._made(seen, names), _blamed)
        self.forget(request_id)
        if isinstance(made, EdgellmError):
            self._put(Compiled(seen, made))
        elif made:
            request, pictures = made
            self._put(Compiled(request, mask, pictures))

    def _made(
        self, seen: Generate, names: tuple[str, ...]
    ) -> tuple[Generate, tuple[Placed, ...]] | None:
        """The request as tokens, and where its pictures are. None: nobody wants it any more."""
        texts = texts_of(seen, self._tokenize)
        looks = self._all(seen.request_id, names)
        if looks is None:
            return None
        tokens, pictures = placed(woven(texts, looks))
        return _with_tokens(seen, tokens), pictures

    def _all(self, request_id: int, names: tuple[str, ...]) -> Looks | None:
        """None: nobody wants it any more."""
        looks = []
        for i, name in enumerate(names):
            file = self._file(request_id, i)
            if file is None:
                return None
            try:
                look = self._see(file, lambda: request_id in self._waiting)
            except BadRequest as error:  # or of a kind of it
                error.args, error.param = (f"{name}: {error}",), name
                raise
            if look is None:
                return None
            looks.append(look)
        return tuple(looks)

    def _file(self, request_id: int, i: int) -> bytes | None:
        asked = self._waiting.get(request_id)
        return asked.pictures.files[i] if asked else None


def _blamed(error: Exception) -> BadRequest:
    return BadRequest(f"a picture or sound can't be encoded: {error}", param="messages")


def _without_files(request: Generate) -> Generate:
    """They have been seen: a running request must not hold them."""
    pictures = request.params.pictures
    assert pictures
    params = replace(request.params, pictures=Pictures(pictures.mark, (), ()))
    return Generate(request.request_id, request.prompt, params)


def _with_tokens(request: Generate, tokens: list[int]) -> Generate:
    return Generate(request.request_id, tuple(tokens), request.params)
