"""Which memory each layer keeps for a sequence: full, sliding, latent, recurrent, none.

Read from the header's hyperparameters by llama.cpp's own rules. Sources: src/llama-model.cpp
(`load_hparams`, `create_memory`), src/llama-hparams.cpp (`n_embd_r`, `n_embd_s`, `has_kv`,
`is_mla`), src/models/*.cpp (`load_arch_hparams`), all of 0.3.36's llama.cpp.

Exact for what those rules name. An upper bound for glm-dsa, where some layers share an indexer.
Left out: the compressed caches of deepseek4, the indexer cache
of minimax-m3, hy_v4, dots3note, glm5-next and qwen4exp, and the padding of V that llama.cpp adds
without flash attention where layers differ in width.
"""

from collections.abc import Sequence
from typing import Final, Literal

from edgellm.errors import BadGGUF
from edgellm.models.gguf.header import GGUFHeader
from edgellm.values import frozen

KVKind = Literal["full", "sliding", "latent", "recurrent", "none"]

MAX_LAYERS: Final = 512  # LLAMA_MAX_LAYERS
_F32_BYTES: Final = 4


@frozen
class LayerMemory:
    """`state_bytes` beside a kind other than recurrent: the layer keeps both (falcon-h1)."""

    kind: KVKind
    n_head_kv: int = 0
    head_dim_k: int = 0
    head_dim_v: int = 0
    state_bytes: int = 0


@frozen
class Window:
    """Which layers slide. `every` n-th layer is full; None: only the file can say."""

    every: int | None
    dense_first: bool = False
    default: int | None = None  # tokens, where the file may leave them out
    fixed: int | None = None  # tokens, whatever number the file says
    only_n_layers: int | None = None  # slides only in the model with as many layers


# Architectures that are not here ignore `attention.sliding_window`, and so does the estimate.
_WINDOWS: Final = {
    "afmoe": Window(4), "cohere2": Window(4), "cohere2moe": Window(4, dense_first=True),
    "exaone-moe": Window(4, default=128), "exaone4": Window(4, default=4096, only_n_layers=64),
    "gemma2": Window(2, default=4096), "gemma3": Window(6), "gemma3n": Window(5),
    "gemma4": Window(None), "gpt-oss": Window(2), "granite_swa": Window(None),
    "laguna": Window(4, dense_first=True), "lfm2": Window(0),
    "llama4": Window(4, default=8192, fixed=8192), "maple": Window(None), "mellum": Window(4),
    "mimo2": Window(None), "muse-glimmer": Window(4), "olmo2": Window(4), "plamo3": Window(8),
    "smallthinker": Window(4, dense_first=True, fixed=4096), "spark2_5": Window(None),
    "step35": Window(None),
}  # fmt: skip

# These compute every token from all others, each time anew: `create_memory` gives them none.
NO_MEMORY: Final = frozenset({
    "bert", "jina-bert-v2", "jina-bert-v3", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert",
    "wavtokenizer-dec", "modern-bert", "gemma-embedding", "dream", "llada", "llada-moe", "rnd1",
})  # fmt: skip
_RECURRENT: Final = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
_RECURRENT_WITHOUT_HEADS: Final = frozenset({
    "jamba", "plamo2", "granitehybrid", "lfm2", "lfm2moe", "kimi-linear", "kimi-k3", "bailingmoe3",
    "glm5-next", "nemotron_h", "nemotron_h_moe",
})  # fmt: skip
_FULL_EVERY: Final = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4, "qwen4exp": 4, "minimax-01": 8}
_INDEXED: Final = frozenset({"deepseek32", "glm-dsa"})


def layer_memory(header: GGUFHeader) -> tuple[LayerMemory, ...]:
    """One for each block, the draft (nextn) blocks at the end included. Raises BadGGUF."""
    return _Reader(header).layers()


def window_tokens(header: GGUFHeader) -> int:
    """The sliding layers' window; 0 where none slides."""
    return _Reader(header).window


class _Reader:
    """The hyperparameters that several rules share, read once."""

    def __init__(self, header: GGUFHeader) -> None:
        self.header, self.arch = header, header.architecture
        self.n_layers = self.need("block_count")
        if not 1 <= self.n_layers <= MAX_LAYERS:
            raise BadGGUF(f"{self.n_layers} layers are not between 1 and {MAX_LAYERS}")
        self.n_trunk = max(self.n_layers - self.get("nextn_predict_layers", 0), 0) or self.n_layers
        self.n_embd = self.need("embedding_length")
        self.n_head = self.each("attention.head_count", 0)
        self.n_head_kv = self.each("attention.head_count_kv", self.n_head)
        self.n_ff = self.each("feed_forward_length", 0)
        head_dim = self.n_embd // self.n_head[0] if self.n_head[0] else 0
        self.head_dim_k = self.get("attention.key_length", head_dim)
        self.head_dim_v = self.get("attention.value_length", head_dim)
        self.window = self._window()

    def get(self, name: str, default: int) -> int:
        value = self.header.integer(f"{self.arch}.{name}")
        return default if value is None else value

    def need(self, name: str) -> int:
        return self.header.need_integer(f"{self.arch}.{name}")

    def each(self, name: str, default: int | tuple[int, ...]) -> tuple[int, ...]:
        values = self.header.integers(f"{self.arch}.{name}", self.n_layers)
        if values is not None:
            return values
        return (default,) * self.n_layers if isinstance(default, int) else default

    def layers(self) -> tuple[LayerMemory, ...]:
        if self.arch in NO_MEMORY:
            return tuple(
                LayerMemory("none", n_head_kv, self.head_dim_k, self.head_dim_v)
                for n_head_kv in self.n_head_kv
            )
        recurrent, slides, n_own = self._recurrent(), self._slides(), self._n_own_cache()
        state_bytes = self._state_bytes() if any(recurrent) else 0
        return tuple(
            self._layer(il, recurrent[il], slides[il], state_bytes)
            if il < min(self.n_trunk, n_own)
            else LayerMemory("none")
            for il in range(self.n_layers)
        )

    def _layer(self, il: int, recurrent: bool, slides: bool, state_bytes: int) -> LayerMemory:
        if recurrent and self.arch != "falcon-h1":
            return LayerMemory("recurrent", state_bytes=state_bytes)
        if self.arch.startswith("nemotron_h") and self.n_ff[il]:
            return LayerMemory("none")  # a block of its own for each feed-forward part
        if not self.n_head_kv[il]:
            return LayerMemory("none")
        n_head_kv = self.n_head_kv[il]
        if self.get("attention.key_length_mla", 0):
            return LayerMemory("latent", n_head_kv, self.head_dim_k + self._indexer_dim(), 0)
        dim_k, dim_v = self.head_dim_k, self.head_dim_v
        if slides:
            dim_k = self.get("attention.key_length_swa", dim_k)
            dim_v = self.get("attention.value_length_swa", dim_v)
        kind: KVKind = "sliding" if slides else "full"
        return LayerMemory(kind, n_head_kv, dim_k, dim_v, state_bytes if recurrent else 0)

    def _indexer_dim(self) -> int:
        """Sparse attention keeps a second, narrow key beside the latent one."""
        return self.get("attention.indexer.key_length", 0) if self.arch in _INDEXED else 0

    def _n_own_cache(self) -> int:
        """Layers from here on read an earlier layer's cache."""
        if self.arch == "gemma3n":
            return 20
        if self.arch == "gemma4":
            return self.n_layers - self.get("attention.shared_kv_layers", 0)
        return self.n_layers

    def _window(self) -> int:
        rule = _WINDOWS.get(self.arch)
        if rule is None or rule.only_n_layers not in (None, self.n_trunk):
            return 0
        stated = self.header.integer(f"{self.arch}.attention.sliding_window")
        tokens = stated if stated is not None else rule.default or 0
        return rule.fixed or tokens if tokens else 0

    def _slides(self) -> Sequence[bool]:
        if not self.window:
            return (False,) * self.n_layers
        rule = _WINDOWS[self.arch]
        key = f"{self.arch}.attention.sliding_window_pattern"
        value = self.header.metadata.get(key)
        if value is not None and not isinstance(value, int):
            return [bool(flag) for flag in self.header.integers(key, self.n_layers) or ()]
        every = self.header.integer(key) if value is not None else rule.every
        if every is None:
            raise BadGGUF(f"{key!r} is missing from the header")
        return [self._slides_at(il, every, rule.dense_first) for il in range(self.n_layers)]

    @staticmethod
    def _slides_at(il: int, every: int, dense_first: bool) -> bool:
        if every == 0:
            return True
        return il % every != 0 if dense_first else il % every < every - 1

    def _recurrent(self) -> Sequence[bool]:
        if self.arch in _RECURRENT or self.arch == "falcon-h1":
            return (True,) * self.n_layers
        if self.arch in _RECURRENT_WITHOUT_HEADS:
            feeds = self.n_ff if self.arch.startswith("nemotron_h") else (0,) * self.n_layers
            return [n == 0 and ff == 0 for n, ff in zip(self.n_head_kv, feeds, strict=True)]
        if self.arch not in _FULL_EVERY:
            return (False,) * self.n_layers
        key = f"{self.arch}.attention.recurrent_layers"
        flags = self.header.integers(key, self.n_layers)
        if flags is not None:
            return [bool(flag) for flag in flags]
        every = max(self.get("full_attention_interval", _FULL_EVERY[self.arch]), 1)
        return [(il + 1) % every != 0 for il in range(self.n_layers)]

    def _state_bytes(self) -> int:
        """One layer's state of one sequence: (n_embd_r + n_embd_s), in F32."""
        wkv = self.get("wkv.head_size", 0)
        if wkv:
            return self.n_embd * (self.get("token_shift_count", 2) + wkv) * _F32_BYTES
        conv, inner = self.get("ssm.conv_kernel", 0), self.get("ssm.inner_size", 0)
        state, groups = self.get("ssm.state_size", 0), self.get("ssm.group_count", 0)
        short, kda = self.get("shortconv.l_cache", 0), self.get("kda.head_dim", 0)
        rolling = max(conv - 1, 0) * (inner + 2 * groups * state)
        held = state * inner
        if short:
            rolling = self.n_embd * (short - 1)
        if kda:
            rolling = 3 * (conv - 1 if conv else 3) * self.n_head[0] * kda
            held = kda * kda * self.n_head[0]
        if self.arch == "minimax-01":
            held = self.head_dim_k * self.head_dim_k * self.n_head[0]
        return (rolling + held) * _F32_BYTES
