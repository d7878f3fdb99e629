"""ggml's operations as far as memory goes: what shape comes out, and whose memory it may take over.

A Tensor is a shape, what it is computed from, and where its bytes lie if they are not its own (a
view). Source: ggml/src/ggml.c; `INPLACE` is ggml_op_can_inplace of ggml-alloc.c.
"""

from math import prod

from edgellm.models.quants import BY_NAME, QuantType

F32, F16, I32, I64 = (BY_NAME[name] for name in ("f32", "f16", "i32", "i64"))
INPLACE = frozenset({
    "fill", "scale", "add", "add_id", "sub", "mul", "div", "sqr", "sqrt", "log", "unary", "rope",
    "rms_norm", "clamp", "soft_max",
})  # fmt: skip
VIEW_OPS = frozenset({"view", "reshape", "permute", "transpose"})

Extents = tuple[int, int, int, int]
Address = tuple[int, int]  # chunk, offset


class Tensor:
    """`root` is the tensor whose memory a view lies in; `home` the buffer of one that is there
    before the graph runs: a weight, a cache."""

    __slots__ = (
        "address", "backend", "dense", "flag_input", "flag_output", "home", "is_listed",
        "is_weight", "n_bytes", "n_children", "n_views", "ne", "op", "own", "root", "src",
        "taken_bytes", "type",
    )  # fmt: skip

    address: Address  # these two from when it has memory of its own
    taken_bytes: int

    def __init__(
        self, op: str, ne: Extents, kind: QuantType = F32, src: tuple["Tensor", ...] = ()
    ) -> None:
        self.op, self.ne, self.type, self.src = op, ne, kind, src
        self.n_bytes = ne[0] * kind.block_bytes // kind.block * ne[1] * ne[2] * ne[3]
        self.root: Tensor | None = None
        self.dense = True
        self.home: int | None = None
        self.is_weight = self.flag_input = self.flag_output = False
        self.is_listed = self.own = False  # the graph's, the scheduler's and the allocator's notes
        self.backend = -1
        self.n_children = self.n_views = 0

    def __repr__(self) -> str:
        return f"{self.op}{list(self.ne)}"


def extents(*dims: int) -> Extents:
    a, b, c, d = (*dims, 1, 1, 1, 1)[:4]
    return a, b, c, d


def padded(n: int, to: int) -> int:
    return -(-n // to) * to


def elements(tensor: Tensor) -> int:
    return prod(tensor.ne)


# ---- what is there before


def new_input(*dims: int, kind: QuantType = F32) -> Tensor:
    tensor = Tensor("none", extents(*dims), kind)
    tensor.flag_input = True
    return tensor


def stored(home: int, *dims: int, kind: QuantType = F32, n_bytes: int | None = None) -> Tensor:
    """A cache, or a weight, in the buffer of backend `home`."""
    tensor = Tensor("none", extents(*dims), kind)
    tensor.home = tensor.backend = home
    tensor.is_listed = True  # no graph's: neither scheduled nor allocated
    if n_bytes is not None:
        tensor.n_bytes = n_bytes
    return tensor


# ---- views


def view(src: Tensor, *dims: int, dense: bool = False) -> Tensor:
    """A part of `src`. A slice of every row spans the rows between: a copy of it does too."""
    tensor = _seen(src, "view", extents(*dims), dense)
    rows = src.ne[1] * src.ne[2] * src.ne[3]
    if elements(tensor) == elements(src):
        tensor.n_bytes = src.n_bytes
    elif not dense and rows > 1:
        in_row, rest = divmod(elements(tensor), rows)
        if rest == 0 and in_row < src.ne[0]:
            bytes_each = src.type.block_bytes / src.type.block
            tensor.n_bytes = int(((rows - 1) * src.ne[0] + in_row) * bytes_each)
    return tensor


def reshape(src: Tensor, *dims: int) -> Tensor:
    return _seen(src, "reshape", extents(*dims), dense=True)


def permute(src: Tensor, order: Extents = (0, 2, 1, 3)) -> Tensor:
    """Axis i of `src` becomes axis order[i]."""
    ne = [1, 1, 1, 1]
    for axis, extent in zip(order, src.ne, strict=True):
        ne[axis] = extent
    return _seen(src, "permute", extents(*ne), dense=False)


def transpose(src: Tensor) -> Tensor:
    a, b, c, d = src.ne
    return _seen(src, "transpose", (b, a, c, d), dense=False)


def _seen(src: Tensor, op: str, ne: Extents, dense: bool) -> Tensor:
    tensor = Tensor(op, ne, src.type, (src,))
    tensor.n_bytes = src.n_bytes if op in ("permute", "transpose") else tensor.n_bytes
    tensor.root, tensor.dense = src.root or src, dense
    return tensor


def set_rows(cache: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
    """Stored into `cache`, of which the result is a view."""
    return _into(cache, "set_rows", (rows, ids, cache))


def copy(src: Tensor, into: Tensor) -> Tensor:
    return _into(into, "cpy", (src, into))


def scale_inplace(src: Tensor) -> Tensor:
    return _into(src, "scale", (src,))


def _into(target: Tensor, op: str, src: tuple[Tensor, ...]) -> Tensor:
    tensor = Tensor(op, target.ne, target.type, src)
    tensor.root, tensor.dense = target.root or target, target.dense
    return tensor


# ---- operations with a result of their own


def mul_mat(weight: Tensor, x: Tensor) -> Tensor:
    return Tensor("mul_mat", (weight.ne[1], *x.ne[1:]), F32, (weight, x))


def mul_mat_id(weights: Tensor, x: Tensor, ids: Tensor) -> Tensor:
    return Tensor("mul_mat_id", (weights.ne[1], ids.ne[0], x.ne[2], 1), F32, (weights, x, ids))


def get_rows(table: Tensor, ids: Tensor) -> Tensor:
    kind = I32 if table.type is I32 else F32
    return Tensor("get_rows", (table.ne[0], *ids.ne[:3]), kind, (table, ids))


def like(op: str, first: Tensor, *others: Tensor) -> Tensor:
    """An operation whose result has the shape of its first operand."""
    return Tensor(op, first.ne, first.type, (first, *others))


def add(a: Tensor, b: Tensor) -> Tensor:
    return like("add", a, b)


def mul(a: Tensor, b: Tensor) -> Tensor:
    return like("mul", a, b)


def scale(a: Tensor) -> Tensor:
    return like("scale", a)


def unary(a: Tensor) -> Tensor:
    return like("unary", a)


def glu(gate: Tensor, up: Tensor | None = None) -> Tensor:
    """Of two tensors, or of the two halves of one."""
    if up is not None:
        return like("glu", gate, up)
    return Tensor("glu", (gate.ne[0] // 2, *gate.ne[1:]), gate.type, (gate,))


def cont(src: Tensor, *dims: int) -> Tensor:
    return Tensor("cont", extents(*dims) if dims else src.ne, src.type, (src,))


def cast(src: Tensor, kind: QuantType) -> Tensor:
    return Tensor("cast", src.ne, kind, (src,))


def concat(a: Tensor, b: Tensor, axis: int) -> Tensor:
    ne = list(a.ne)
    ne[axis] += b.ne[axis]
    return Tensor("concat", extents(*ne), a.type, (a, b))


def repeat(src: Tensor, *dims: int) -> Tensor:
    return Tensor("repeat", extents(*dims), src.type, (src,))


def sum_rows(src: Tensor) -> Tensor:
    return Tensor("sum_rows", (1, *src.ne[1:]), src.type, (src,))


def top_k(src: Tensor, k: int) -> Tensor:
    """ggml_argsort_top_k: all are sorted, the first k are seen."""
    order = Tensor("argsort", src.ne, I32, (src,))
    return view(order, k, *src.ne[1:])


def flash_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, sinks: Tensor | None = None
) -> Tensor:
    more = () if sinks is None else (sinks,)
    ne = (v.ne[0], q.ne[2], q.ne[1], q.ne[3])
    return Tensor("flash_attn", ne, F32, (q, k, v, mask, *more))


class Graph:
    """Nodes in the order they are computed in: ggml_build_forward_expand, parents first. A tensor
    is in one graph only."""

    def __init__(self) -> None:
        self.nodes: list[Tensor] = []
        self.leafs: list[Tensor] = []

    def expand(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            if not tensor.is_listed:
                self._visit(tensor)

    def _visit(self, tensor: Tensor) -> None:
        tensor.is_listed = True
        for src in tensor.src:
            if not src.is_listed:
                self._visit(src)
        (self.leafs if tensor.op == "none" else self.nodes).append(tensor)
