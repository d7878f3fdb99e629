"""ggml's graph allocator: how much of each buffer the worst moment of a graph takes.

A tensor gets memory when it is computed and gives it back after its last use; some operations
write over their operand. Source: ggml/src/ggml-alloc.c, ggml_gallocr_alloc_graph_impl.
"""

from bisect import bisect
from collections.abc import Sequence

from edgellm.selector.graph.backends import BackendRules
from edgellm.selector.graph.tensors import INPLACE, Address, Tensor


class Arena:
    """What one backend needs: a buffer that grows, in chunks where the driver limits their size.

    Source: ggml_dyn_tallocr_alloc, ggml_dyn_tallocr_free_bytes.
    """

    def __init__(self, rules: BackendRules) -> None:
        self._rules = rules
        self._mask = rules.alignment - 1
        self._chunks: list[_Chunk] = []

    @property
    def peak_bytes(self) -> int:
        return sum(chunk.peak_bytes for chunk in self._chunks)

    def size_of(self, tensor: Tensor) -> int:
        return self._rules.alloc_bytes(tensor) + self._mask & ~self._mask

    def take(self, size: int) -> Address:
        """In the tightest hole that holds it; else at the end of the chunk that grows least."""
        if size == 0:
            return 0, 0
        hole = None
        for number, chunk in enumerate(self._chunks):
            if (at := chunk.tightest_hole(size)) is not None:
                hole = number, at
        if hole is None:
            hole = self._end_for(size)
        number, at = hole
        return number, self._chunks[number].cut(at, size)

    def _end_for(self, size: int) -> tuple[int, int]:
        best, best_spare = None, 0
        for number, chunk in enumerate(self._chunks):
            if not chunk.sizes or chunk.sizes[-1] < size:
                continue
            spare = chunk.peak_bytes - chunk.starts[-1] - size  # negative: it must grow
            tighter = 0 <= spare < best_spare or (best_spare < 0 and spare > best_spare)
            if best is None or tighter:
                best, best_spare = number, spare
        if best is None:
            best = len(self._chunks)
            self._chunks.append(_Chunk(max(size, self._rules.max_chunk_bytes)))
        return best, len(self._chunks[best].sizes) - 1

    def give_back(self, address: Address, size: int) -> None:
        if size:
            self._chunks[address[0]].give_back(address[1], size)


class _Chunk:
    """Free blocks in the order of their addresses; the last one is the unused end."""

    def __init__(self, size: int) -> None:
        self.starts, self.sizes = [0], [size]
        self.peak_bytes = 0

    def tightest_hole(self, size: int) -> int | None:
        best, best_size = None, 1 << 62
        sizes = self.sizes
        for i in range(len(sizes) - 1):
            if size <= sizes[i] <= best_size:
                best, best_size = i, sizes[i]
        return best

    def cut(self, at: int, size: int) -> int:
        offset = self.starts[at]
        self.starts[at] += size
        self.sizes[at] -= size
        if self.sizes[at] == 0:
            del self.starts[at], self.sizes[at]
        self.peak_bytes = max(self.peak_bytes, offset + size)
        return offset

    def give_back(self, offset: int, size: int) -> None:
        starts, sizes = self.starts, self.sizes
        at = bisect(starts, offset)
        after = at < len(starts) and offset + size == starts[at]
        before = at > 0 and starts[at - 1] + sizes[at - 1] == offset
        if before and after:
            sizes[at - 1] += size + sizes[at]
            del starts[at], sizes[at]
        elif before:
            sizes[at - 1] += size
        elif after:
            starts[at], sizes[at] = offset, sizes[at] + size
        else:
            starts.insert(at, offset)
            sizes.insert(at, size)


def allocate(nodes: Sequence[Tensor], leafs: Sequence[Tensor], arenas: Sequence[Arena]) -> None:
    """`arenas[i].peak_bytes` is what backend i needs for the graph."""
    replay = _Replay(arenas)
    for leaf in leafs:
        replay.place(leaf)
    replay.count_uses(nodes)
    for node in nodes:
        if node.root is None:  # views have nothing of their own
            replay.place(node)
        for parent in node.src:
            parent.n_children -= 1
            if not parent.n_children and not parent.n_views:
                replay.release(parent)


class _Replay:
    def __init__(self, arenas: Sequence[Arena]) -> None:
        self._arenas = arenas

    def count_uses(self, nodes: Sequence[Tensor]) -> None:
        for node in nodes:
            if node.root is not None and node.op != "none":
                node.root.n_views += 1
            if node.flag_input:
                self.place(node)
            for parent in node.src:
                parent.n_children += 1
                if parent.flag_input:
                    self.place(parent)

    def place(self, tensor: Tensor) -> None:
        if tensor.own or tensor.root is not None or tensor.home is not None:
            return
        tensor.own = True
        if tensor.op in INPLACE and self._take_over(tensor):
            return
        arena = self._arenas[tensor.backend]
        tensor.taken_bytes = arena.size_of(tensor)
        tensor.address = arena.take(tensor.taken_bytes)

    def _take_over(self, tensor: Tensor) -> bool:
        """Write over an operand that nobody else needs. Never over a view: ggml doesn't."""
        for parent in tensor.src:
            if not parent.own or parent.flag_output or parent.n_children != 1 or parent.n_views:
                continue
            if parent.ne != tensor.ne or parent.type is not tensor.type:
                continue
            tensor.backend, tensor.address = parent.backend, parent.address
            parent.own = False
            arena = self._arenas[tensor.backend]
            tensor.taken_bytes = arena.size_of(tensor)
            chunk, offset = parent.address
            rest = parent.taken_bytes - tensor.taken_bytes
            arena.give_back((chunk, offset + tensor.taken_bytes), rest)
            return True
        return False

    def release(self, tensor: Tensor) -> None:
        """After its last use; of a view, what it was a part of, if that was the last one."""
        holder = tensor
        if tensor.root is not None:
            holder = tensor.root
            holder.n_views -= 1
            if holder.n_views or holder.n_children:
                return
        if holder.own and not holder.flag_output:
            self._arenas[holder.backend].give_back(holder.address, holder.taken_bytes)
            holder.own = False
