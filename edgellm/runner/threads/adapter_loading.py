"""The thread that loads adapters while the loop decodes: hundreds of megabytes take seconds to
read. One after the other, and nicer than the loop: nobody waits for one but whoever asked for
it."""

from collections.abc import Callable

from edgellm.errors import BadGGUF
from edgellm.runner.intake.beside import AdapterLoaded, attempted
from edgellm.runner.messages import LoadAdapter
from edgellm.runner.threads.one_thread import OneThread


class AdapterLoading(OneThread):
    """`load` raises EdgellmError. `put` may be called from any thread; it is called once for
    each."""

    def __init__(
        self, load: Callable[[int, bytes], None], put: Callable[[AdapterLoaded], None]
    ) -> None:
        super().__init__(is_nicer=True)
        self._load, self._put = load, put

    def add(self, asked: LoadAdapter) -> None:
        self._pool.submit(self._loaded, asked)

    def _loaded(self, asked: LoadAdapter) -> None:
        error = attempted(lambda: self._load(asked.adapter_id, asked.path), _blamed)
        self._put(AdapterLoaded(asked, error))


def _blamed(error: Exception) -> BadGGUF:
    return BadGGUF(f"this adapter can't be loaded: {error}")
