"""How long a client may take: for what it sends, and to read what it is sent. Seconds.

Whoever sends a byte now and then to keep a place is told apart from whoever has a slow line, as
Apache's mod_reqtimeout does it: a time to begin with, and more of it for every byte that came.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    head_s: float = 30.0  # from the connection, or a head's first byte, until the head is whole
    body_s: float = 30.0
    least_body_bytes_s: float = 500.0
    write_s: float = 60.0  # for one write to be taken
    settling_s: float = (
        0.25  # a younger connection is not closed to make room: nobody has looked yet
    )

    def left_for_body_s(self, n_bytes: int, waited_s: float) -> float:
        """After `n_bytes` and `waited_s`, in which the server did nothing but wait for more."""
        return self.body_s + n_bytes / self.least_body_bytes_s - waited_s
