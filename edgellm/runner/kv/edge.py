"""A stretch of a conversation that has left the KV cells: one edge of the shelf's radix tree. Pure.

An edge can't be cut: what llama.cpp writes for a stretch of cells comes back whole or not at all.
So two edges that begin alike may lie side by side. And thousands may follow one edge, as after a
system prompt; so they are found by their first tokens, not by looking at each.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

_HEAD = 16  # tokens by which an edge is found, or all if it has fewer; less isn't worth a copy
_FEW = 4  # heads: so few are looked at one by one in less time


@dataclass(frozen=True, slots=True)
class BlobSize:
    """What llama.cpp writes for a stretch of cells; measured at load."""

    base_bytes: int
    cell_bytes: int

    def of(self, n_cells: int) -> int:
        return self.base_bytes + n_cells * self.cell_bytes


@dataclass(eq=False, slots=True)
class Edge:
    tokens: list[int]
    start: int  # tokens before it
    parent: "Edge | None"  # None: this is a root, without tokens
    blob: int  # the number under which the backend holds what the cells held
    n_bytes: int
    key: bytes = b""  # names all tokens from the root to its end; see prefix_file.py
    in_ram: bool = True
    on_disk: bool = False
    is_coming: bool = False  # from disk; its room in memory is taken already
    broken: bool = False  # its file could not be read: nobody finds it any more
    used_at: int = 0  # counted in edges put and used
    n_pins: int = 0  # requests that wait for it
    heads: "dict[tuple[int, ...], list[Edge]]" = field(default_factory=dict)  # children, by head

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)

    @property
    def ends_on_disk(self) -> bool:
        """Its file may go: no file hangs on it, and nothing at all if the file is all there is."""
        return not any(child.on_disk or not self.in_ram for child in self.children)

    @property
    def children(self) -> "Iterator[Edge]":
        return chain.from_iterable(self.heads.values())

    def children_along(self, tokens: list[int], limit: int) -> "Iterator[Edge]":
        """All children that begin like tokens[self.end:limit], and perhaps others."""
        if len(self.heads) <= _FEW:
            yield from self.children
            return
        head = tuple(tokens[self.end : min(limit, self.end + _HEAD)])
        for n in range(1, len(head) + 1):
            yield from self.heads.get(head[:n], ())

    def add(self, child: "Edge") -> None:
        self.heads.setdefault(tuple(child.tokens[:_HEAD]), []).append(child)

    def remove(self, child: "Edge") -> None:
        alike = self.heads[head := tuple(child.tokens[:_HEAD])]
        alike.remove(child)
        if not alike:
            del self.heads[head]


@dataclass(frozen=True, slots=True)
class Found:
    """Edges one after the other, and how many tokens from the root they agree on."""

    edges: tuple[Edge, ...] = ()
    length: int = 0
