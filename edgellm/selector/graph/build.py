"""The parts that llama.cpp's model files are made of, in its words. Source: src/llama-graph.cpp."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import count
from typing import Literal

from edgellm.models.anatomy.graph_facts import LayerTensor
from edgellm.models.quants import BY_NAME
from edgellm.models.spec import LayerSpec
from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.outline import Kind, Outline
from edgellm.selector.graph.tensors import F16, F32, I32, I64, Graph, Tensor
from edgellm.selector.memory.kv import sliding_cells
from edgellm.selector.memory.shape import ContextShape
from edgellm.values import frozen

NormOp = Literal["rms_norm", "norm"]

_ROTATION = 64  # the smallest Hadamard matrix, and what a head must be a multiple of


@frozen
class Place:
    """One layer of the model and the backends that keep its parts."""

    kind: Kind
    home: int
    aside: tuple[str, ...]  # matrices of its experts that are the host's
    copied: Mapping[str, int]  # bytes of what the host has of it
    is_last: bool = False

    @property
    def layer(self) -> LayerSpec:
        return self.kind.layer


class Cells:
    """The attention inputs of one cache: full or sliding. Source: build_attn_inp_kv_iswa."""

    def __init__(self, build: "Build", layers: list[LayerSpec]) -> None:
        shape, first = build.shape, layers[0]
        self.n_cells = shape.cells_per_stream
        if first.kv_kind == "sliding":
            self.n_cells = sliding_cells(build.outline.n_swa, shape)
        self.k_ids = g.new_input(build.n_tokens, kind=I64)
        per_token = 1
        if build.v_transposed:  # an index for each element
            per_token = build.widest_v
        self.v_ids = g.new_input(build.n_tokens * per_token, kind=I64)
        self.mask = build.new_mask(self.n_cells, build.n_streams)
        self.k_rotation = self.v_rotation = None
        dims_k = {layer.head_dim_k for layer in layers}
        dims_v = {layer.head_dim_v for layer in layers}
        if first.kv_kind != "latent":
            self.k_rotation = _rotation(shape.kv_type_k, dims_k, grows=True)
            self.v_rotation = _rotation(shape.kv_type_v, dims_v, grows=False)


class Build:
    """A graph under construction, for the largest batch that is reserved for."""

    def __init__(
        self,
        outline: Outline,
        shape: ContextShape,
        *,
        flash: bool,
        cpu: int,
        head_home: int,
        first_home: int,
        norms_stay: bool,
        offloads: bool,
    ) -> None:
        self.outline, self.facts, self.shape = outline, outline.facts, shape
        self.norms_stay = norms_stay  # with their layer, whoever gave what they read
        self.offloads = offloads  # the host's weights are copied for a prompt
        self.flash = flash  # what becomes of shape.flash_attention on these devices
        self.cpu, self.head_home, self.first_home = cpu, head_home, first_home
        self.graph = Graph()
        self.n_tokens = shape.n_tokens
        self.n_seqs = shape.n_seq_max
        self.n_seq_tokens = shape.n_tokens // shape.n_seq_max
        self.n_streams = shape.n_streams
        self.attending: list[tuple[Tensor, int]] = []  # by flash attention, and whose layer it is
        self._caches: dict[str, Cells] = {}
        self._weights: dict[tuple[str, int], Tensor] = {}
        self._shared: dict[tuple[int, int], Tensor] = {}
        self._outside = {tensor.name: tensor for tensor in outline.outside}

    @property
    def v_transposed(self) -> bool:
        """The cache is laid out before llama.cpp finds out whether flash attention can run."""
        return not self.shape.flash_attention

    @cached_property
    def widest_v(self) -> int:
        layers = (kind.layer for kind in self.outline.kinds)
        return max(layer.n_head_kv * layer.head_dim_v for layer in layers)

    # ---- inputs

    @cached_property
    def positions(self) -> Tensor:
        return g.new_input(self.n_tokens, kind=I32)

    @cached_property
    def query_scales(self) -> Tensor:
        """Source: build_inp_attn_scale."""
        return g.new_input(1, 1, self.n_tokens)

    @cached_property
    def output_ids(self) -> Tensor:
        return g.new_input(self.shape.n_outputs, kind=I32)

    @cached_property
    def batch_mask(self) -> Tensor:
        """Without a cache, of the batch with itself. Source: build_attn_inp_no_cache."""
        return self.new_mask(self.n_tokens, 1)

    @cached_property
    def sliding_batch_mask(self) -> Tensor:
        return self.new_mask(self.n_tokens, 1)

    @cached_property
    def _states(self) -> Tensor:
        return g.new_input(self.n_seqs, kind=I32)

    @cached_property
    def state_ids(self) -> Tensor:
        """Which rows of a recurrent layer's table are read. Source: build_rs_inp."""
        return g.view(self._states, self.n_seqs)

    @cached_property
    def no_state_ids(self) -> Tensor:
        return g.view(self._states, 0)

    def cache_inputs(self, layer: LayerSpec) -> Cells:
        sliding = layer.kv_kind == "sliding"
        key = "sliding" if sliding else "full"
        if key not in self._caches:
            alike = [
                other
                for other in (kind.layer for kind in self.outline.kinds)
                if other.kv_kind not in ("none", "recurrent")
                and (other.kv_kind == "sliding") == sliding
            ]
            self._caches[key] = Cells(self, alike)
        return self._caches[key]

    def new_mask(self, n_cells: int, n_streams: int) -> Tensor:
        """Source: build_attn_inp_kq_mask. Flash attention wants halves."""
        kind = F16 if self.flash else F32
        return g.new_input(n_cells, self.n_tokens // n_streams, 1, n_streams, kind=kind)

    def embedding(self) -> Tensor:
        """Of token ids, or given ready-made: both inputs exist. Source: build_inp_embd."""
        table = self.outside("token_embd.weight", self.cpu)
        if table is None:
            raise LookupError("token_embd.weight")
        ids = g.new_input(self.n_tokens, kind=I32)
        width = self.outline.n_embd * (1 + self.facts.n_deepstack)
        self._embedded = g.get_rows(table, ids)
        if self.facts.n_deepstack:  # pictures bring a row for each of these layers
            ne = g.extents(width, self.n_tokens)
            self._embedded = Tensor("pad", ne, F32, (self._embedded,))
        self.graph.expand(self._embedded, g.new_input(width, self.n_tokens))
        x = self.deepstack_row() if self.facts.n_deepstack else self._embedded
        return g.scale(x) if self.facts.embedding_scaled else x

    def deepstack_row(self) -> Tensor:
        return g.view(self._embedded, self.outline.n_embd, self.n_tokens)

    def normed_embedding(self, x: Tensor) -> Tensor:
        """Its norm belongs to the first layer."""
        x = g.like("norm", x)
        if self.norms_stay:
            x.backend = self.first_home
        for name, op in (("weight", "mul"), ("bias", "add")):
            tensor = self.outside(f"token_embd_norm.{name}", self.first_home)
            x = g.like(op, x, tensor) if tensor is not None else x
        return x

    # ---- weights

    def has(self, place: Place, name: str) -> bool:
        return name in place.kind.named

    def weight(self, place: Place, name: str, *, is_copied: bool = False) -> Tensor | None:
        """Of layers that are alike it is one tensor, unless it is copied: then each is let go of
        at a time of its own."""
        found = place.kind.named.get(name)
        if found is None:
            return None
        is_aside = bool(place.aside) and found.expert_matrix in place.aside
        home = self.cpu if is_aside else place.home
        if is_copied or (home == self.cpu and self.offloads):
            return _weight(found, home, place.copied.get(name, 0) if home == self.cpu else 0)
        key = id(found), home
        if key not in self._shared:
            self._shared[key] = _weight(found, home, 0)
        return self._shared[key]

    def need(self, place: Place, name: str) -> Tensor:
        tensor = self.weight(place, name)
        if tensor is None:
            raise LookupError(name)
        return tensor

    def outside(self, name: str, home: int) -> Tensor | None:
        """A tensor of no block; one for each buffer that it is used in."""
        if name not in self._outside:
            return None
        if (name, home) not in self._weights:
            self._weights[name, home] = _weight(self._outside[name], home, None)
        return self._weights[name, home]

    def adapters(self, place: Place, name: str) -> Iterator[tuple[Tensor, Tensor]]:
        """What models/anatomy/adapters.py put beside a matrix: two narrow ones for each adapter."""
        for i in count():
            first = self.weight(place, f"{name}.weight.lora_a.{i}")
            if first is None:
                return
            yield first, self.need(place, f"{name}.weight.lora_b.{i}")

    # ---- small parts

    def linear(self, place: Place, name: str, x: Tensor) -> Tensor:
        """A matrix with its adapters and its bias. Source: build_lora_mm."""
        result = g.mul_mat(self.need(place, f"{name}.weight"), x)
        if name not in place.kind.dressed:  # most are bare, and a graph has hundreds
            return result
        if (factor := self.weight(place, f"{name}.scale")) is not None:
            result = g.mul(result, factor)
        for first, second in self.adapters(place, name):
            result = g.add(result, g.scale(g.mul_mat(second, g.mul_mat(first, x))))
        if (bias := self.weight(place, f"{name}.bias")) is not None:
            result = g.add(result, bias)
        return result

    def norm(
        self, place: Place, name: str, x: Tensor, op: NormOp = "rms_norm", *, of_layer: bool = True
    ) -> Tensor:
        """Source: build_norm, without a weight of that name the bare norm. Who computes it is told
        where all layers are offloaded: src/llama-context.cpp graph_get_cb."""
        result = g.like(op, x)
        weight = self.weight(place, f"{name}.weight")
        if self.norms_stay and of_layer and weight is not None:
            result.backend = place.home
        if weight is not None:
            result = g.mul(result, weight)
        if (bias := self.weight(place, f"{name}.bias")) is not None:
            result = g.add(result, bias)
        return result

    def rope(self, x: Tensor, home: int) -> Tensor:
        factors = self.outside("rope_freqs.weight", home)
        if factors is None:
            factors = self.outside("rope_factors_long.weight", home)
        return g.like("rope", x, self.positions, *(() if factors is None else (factors,)))

    def only_outputs(self, place: Place, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The last layer goes on with the rows that somebody will read."""
        if not place.is_last:
            return tensors
        return tuple(g.get_rows(tensor, self.output_ids) for tensor in tensors)


def _weight(found: LayerTensor, home: int, copied_bytes: int | None) -> Tensor:
    tensor = g.stored(home, *found.shape, n_bytes=copied_bytes)
    tensor.is_weight = True
    return tensor


def _rotation(kind: str, dims: set[int], *, grows: bool) -> Tensor | None:
    """Quantized caches are rotated by a Hadamard matrix, when all heads are of one size.

    Source: src/llama-kv-cache.cpp, attn_rot_k, build_input_k_rot.
    """
    if BY_NAME[kind].block == 1 or len(dims) != 1:
        return None
    (dim,) = dims
    if dim % _ROTATION:
        return None
    n = _ROTATION
    while grows and dim % (2 * n) == 0:
        n *= 2
    return g.new_input(n, n)
