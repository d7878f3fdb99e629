"""The end of a connection whose client still sends.

A socket that is closed while bytes come answers them with a reset, and that makes the client's
system throw away what it hadn't read yet: the words that say why. A client that sends all of its
body before it reads would never learn that the body is too large. So it is told that nothing more
comes from here, and what it still sends is read and dropped, as nginx does (lingering_close). TLS
has no such word that leaves the other direction open: there the answer's own end has to do.
"""

import asyncio
from collections.abc import Callable
from typing import Any


class Lingering:
    """A transport whose `close` waits for the client's own where that still sends.

    `is_sending` says whether it does. `on_linger` is called once, when the waiting begins: then
    nothing more may be written, and a second `close` is final.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        is_sending: Callable[[], bool],
        on_linger: Callable[[], None],
    ) -> None:
        self._transport, self._is_sending, self._on_linger = transport, is_sending, on_linger
        self.write = transport.write  # each token's: not by way of __getattr__
        self.lingers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.lingers or self._transport.is_closing()

    def close(self) -> None:
        if self.lingers or self._transport.is_closing() or not self._is_sending():
            self.close_for_good()
            return
        try:
            if self._transport.can_write_eof():
                self._transport.write_eof()
        except OSError:  # it has gone meanwhile
            self._transport.close()
            return
        self.lingers = True
        self._on_linger()

    def forget(self) -> None:
        """The connection is lost. Who made this is let go of, or it would be a cycle: of thousands
        of requests some megabytes that wait to be swept."""
        self._is_sending, self._on_linger = _no_more, _nobody_to_tell

    def close_for_good(self) -> None:
        """Whatever comes: it isn't worth reading. Never twice: after that asyncio's TLS can't be
        aborted any more (CPython 3.11 to 3.14)."""
        if not self._transport.is_closing():
            self._transport.close()


def _no_more() -> bool:
    return False


def _nobody_to_tell() -> None:
    pass
