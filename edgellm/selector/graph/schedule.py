"""ggml's scheduler: which backend computes a node, and what is copied between them for that.

Work follows the weights; what has none follows its neighbours, accelerators before the CPU. A
long prompt takes the host's weights to the first accelerator instead (op_offload): each such
weight is copied there, and dropped when the next one comes. Source: ggml/src/ggml-backend.cpp,
ggml_backend_sched_split_graph, its passes by number. Every backend is taken to know every
operation; one that doesn't is the oracle's and the load's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from edgellm.selector.graph.backends import BackendRules
from edgellm.selector.graph.tensors import VIEW_OPS, Graph, Tensor
from edgellm.values import frozen

FEW_TOKENS = 32  # fewer are computed where the layer is, whatever the weights cost to read
OFFLOAD_MIN_ROWS = 32  # GGML_OP_OFFLOAD_MIN_BATCH's default
PIPELINE_COPIES = 4  # GGML_SCHED_MAX_COPIES
_BY_WEIGHT_EXCEPT = frozenset({"rope", "flash_attn"})


@frozen
class Machinery:
    """Backends by number, with their rules: accelerators in llama.cpp's order, the CPU last."""

    rules: tuple[BackendRules, ...]
    op_offload: bool = True
    pipeline: bool = False
    attends_on_cpu: bool = False  # no accelerator has a flash attention kernel for these heads
    norms_stay: bool = False  # a layer's norms are told to be its device's

    @property
    def cpu(self) -> int:
        return len(self.rules) - 1

    @property
    def n_copies(self) -> int:
        return PIPELINE_COPIES if self.pipeline else 1


@dataclass(slots=True)
class Scheduled:
    """What the allocator goes over: nodes with the copies between backends among them."""

    nodes: list[Tensor] = field(default_factory=list)
    leafs: list[Tensor] = field(default_factory=list)


def schedule(graph: Graph, machinery: Machinery) -> Scheduled:
    _assign(graph, machinery)
    return _Splitter(graph, machinery).scheduled()


# ---- passes 1 to 4: who computes what


def _assign(graph: Graph, machinery: Machinery) -> None:
    for tensor in chain(graph.leafs, graph.nodes):
        if tensor.backend == -1:  # else llama.cpp asked for one
            tensor.backend = _known_backend(tensor, machinery)
    working = [node for node in graph.nodes if node.op not in VIEW_OPS]
    for passed_over in (machinery.cpu, None):  # accelerators spread first, then all
        for order in (working, working[::-1]):
            _spread(order, passed_over)
    _settle(graph.nodes)


def _settle(nodes: Sequence[Tensor]) -> None:
    """Pass 4: views lie with what they are views of, and operands with who reads them first."""
    for node in nodes:
        if node.backend == -1 and node.root is not None:
            node.backend = node.root.backend
        for src in node.src:
            if src.backend == -1:
                src.backend = node.backend if src.root is None else src.root.backend
        if node.backend == -1:
            node.backend = 0


def _known_backend(tensor: Tensor, machinery: Machinery) -> int:
    """Pass 1. Source: ggml_backend_sched_backend_id_from_cur."""
    holder = tensor.root or tensor
    if holder.home is not None:
        return holder.home
    if tensor.flag_input:
        return machinery.cpu
    if tensor.op == "flash_attn" and machinery.attends_on_cpu:
        return machinery.cpu
    if tensor.op in _BY_WEIGHT_EXCEPT:
        return -1
    for src in tensor.src:
        if src.is_weight:
            assert src.home is not None
            if src.home == machinery.cpu and _offloads(tensor, machinery):
                return 0
            return src.home
    return -1


def _offloads(node: Tensor, machinery: Machinery) -> bool:
    """Source: ggml-cuda.cu and ggml-metal.cpp, device_offload_op."""
    if not machinery.op_offload or machinery.cpu == 0:
        return False
    match node.op:
        case "mul_mat":
            rows = node.ne[1]
        case "mul_mat_id":
            rows = node.ne[2]
        case "get_rows":
            return False
        case _ if machinery.rules[0].is_metal:
            return False
        case _:
            rows = node.ne[1] * node.ne[2] * node.ne[3]
    return rows >= OFFLOAD_MIN_ROWS


def _spread(order: list[Tensor], passed_over: int | None) -> None:
    """Pass 2: a node without a backend takes its neighbour's."""
    current = -1
    for node in order:
        if node.backend != -1:
            current = -1 if node.backend == passed_over else node.backend
        elif current != -1:
            node.backend = current


# ---- passes 5 and 6: splits, and the copies that each begins with


class _Splitter:
    def __init__(self, graph: Graph, machinery: Machinery) -> None:
        self._graph, self._machinery = graph, machinery
        self._copies: dict[tuple[int, int], list[Tensor]] = {}
        self._out = Scheduled()

    def scheduled(self) -> Scheduled:
        waiting: list[Tensor] = []  # the current split's nodes; its copies come before them
        inputs: list[Tensor] = []
        current: int | None = None
        for node in self._graph.nodes:
            if node.op in VIEW_OPS:
                waiting.append(node)
                continue
            if current is None:
                current = node.backend
            if node.backend != current:
                self._emit(inputs, waiting, current)
                waiting, inputs, current = [], [], node.backend
            for src in node.src:
                if src.backend != current:
                    if inputs and self._wants_other_weights(node, current):
                        self._emit(inputs, waiting, current)
                        waiting, inputs = [], []
                    inputs += self._foreign(node, current)
                    break
            waiting.append(node)
        if current is not None:
            self._emit(inputs, waiting, current)
        if self._machinery.pipeline:
            copies = (copy for copies in self._copies.values() for copy in copies)
            self._out.leafs = [*self._input_leafs(), *copies]
        self._out.leafs += self._graph.leafs
        return self._out

    def _wants_other_weights(self, node: Tensor, current: int) -> bool:
        """A new split lets go of the weights that were copied for the last one."""
        return any(src.is_weight and src.home != current for src in node.src)

    def _foreign(self, node: Tensor, current: int) -> list[Tensor]:
        """Operands that lie elsewhere: replaced by copies; those copied for the first time."""
        first: list[Tensor] = []
        replaced = []
        for src in node.src:
            if src.backend == current:
                replaced.append(src)
                continue
            key = (id(src), current)
            if key not in self._copies:
                self._copies[key] = [
                    self._copy(src, current) for _ in range(self._machinery.n_copies)
                ]
                first.append(src)
            replaced.append(self._copies[key][0])
        node.src = tuple(replaced)
        return first

    def _copy(self, src: Tensor, backend: int) -> Tensor:
        copy = Tensor("none", src.ne, src.type)
        copy.n_bytes, copy.backend = src.n_bytes, backend
        copy.flag_input = copy.flag_output = self._machinery.pipeline
        return copy

    def _emit(self, inputs: list[Tensor], nodes: list[Tensor], current: int) -> None:
        for src in inputs:
            keep = Tensor("none", src.ne, src.type, (src,))  # holds it until it is copied
            keep.root, keep.backend = src.root or src, src.backend
            self._out.nodes += (keep, self._copies[id(src), current][0])
        self._out.nodes += nodes

    def _input_leafs(self) -> list[Tensor]:
        """Pass 6: a pipeline keeps its inputs once for each batch under way."""
        leafs = []
        for leaf in self._graph.leafs:
            if leaf.flag_input:
                leaf.flag_output = True
                others = range(1, self._machinery.n_copies)
                leafs += [leaf, *(self._copy(leaf, leaf.backend) for _ in others)]
        return leafs
