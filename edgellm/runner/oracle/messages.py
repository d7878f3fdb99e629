"""What goes between the gateway and the memory oracle's child, in frames (frames.py)."""

import msgspec


class DescribedDevice(msgspec.Struct, frozen=True, array_like=True):
    """A device as llama.cpp shall see it. Sizes matter where llama.cpp itself splits by them."""

    backend: str  # as probe.hardware names it
    total_bytes: int
    free_bytes: int


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """llama_model_params and llama_context_params, as far as they decide about memory."""

    path: str  # of the first skeleton
    devices: tuple[DescribedDevice, ...]  # in llama.cpp's order; none: the CPU alone
    n_layers: int  # 0 leaves llama.cpp's own estimate as it is, see oracle/layers.py
    n_gpu_layers: int
    tensor_split: tuple[float, ...]
    n_cpu_moe: int
    expert_parts: tuple[tuple[int, tuple[str, ...]], ...]  # layers and matrices: ExpertPart
    no_host: bool
    op_offload: bool
    n_ctx: int
    n_batch: int
    n_ubatch: int
    n_seq_max: int
    n_outputs_max: int
    n_rs_seq: int
    type_k: int  # enum ggml_type
    type_v: int
    flash_attention: int  # enum llama_flash_attn_type
    kv_unified: bool
    swa_full: bool
    embeddings: bool


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One device's bytes, or the host's. `weight_bytes` is None when llama.cpp didn't say."""

    weight_bytes: int | None
    kv_bytes: int
    compute_bytes: int


class Answer(msgspec.Struct, frozen=True):
    """A row for each device and the last for the host; none, with the reason, when refused."""

    rows: tuple[Row, ...]
    error: str = ""
