"""One file of the archive: all that a sequence held after so many tokens. Pure."""

from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class WholeFile:
    name: bytes  # of its tokens, of which none is kept here; see prefix_file.py
    key: bytes
    length: int  # tokens
    n_bytes: int
    blob: int | None = None  # that it is read into
    is_coming: bool = False  # from disk; its room in memory is taken already
    in_ram: bool = False
    used_at: int = 0  # counted in files put and used
    n_pins: int = 0  # requests that wait for it

    @property
    def is_in_use(self) -> bool:
        """Also while it is read for a request that has left meanwhile."""
        return self.is_coming or self.n_pins > 0
