"""h11, with bounds on what costs more to read than it brings. Sans-IO, as h11 is.

A chunk of one byte costs h11 as much as one of a thousand: a megabyte of them is a second in which
nobody's tokens go out, and no key is needed to send them. And a head that says where its body ends
in two ways is how requests are smuggled past a proxy: RFC 9112, 6.1, lets a server refuse it.
"""

import h11

_FREE_CHUNKS = 1024  # of one body, however small
_LEAST_CHUNK_BYTES = 128  # of those beyond, on average


class BoundedConnection(h11.Connection):
    """A server's. Its RemoteProtocolErrors say what ours add to h11's."""

    _n_chunks = _n_bytes = 0
    _sends_chunks = False  # of the answer whose head went out last

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._count(event)
        elif isinstance(event, h11.Request):
            self._n_chunks = self._n_bytes = 0
            if {b"content-length", b"transfer-encoding"} <= {name for name, _ in event.headers}:
                raise h11.RemoteProtocolError("Content-Length and Transfer-Encoding at once")
        return event

    def send(self, event: h11.Event) -> bytes | None:  # type: ignore[override]
        """A piece of a body changes no state: a chunk is written without asking h11, which takes
        a good part of a token's way through the server."""
        if type(event) is h11.Data and self._sends_chunks and self.our_state is h11.SEND_BODY:
            return b"%x\r\n%b\r\n" % (len(event.data), event.data) if event.data else b""
        data = super().send(event)
        if type(event) is h11.Response and data:
            self._sends_chunks = b"\r\ntransfer-encoding: chunked\r\n" in data.lower()
        return data

    def _count(self, data: h11.Data) -> None:
        self._n_bytes += len(data.data)
        self._n_chunks += data.chunk_start
        if self._n_chunks > _FREE_CHUNKS + self._n_bytes // _LEAST_CHUNK_BYTES:
            raise h11.RemoteProtocolError(
                f"{self._n_chunks} chunks for {self._n_bytes} bytes are too many"
            )
