"""The head sizes that CUDA's flash attention has kernels for; ROCm's and MUSA's are the same.

Apart from flash.py since the oracle's child asks here, too, and starts sooner without models.
"""


def has_cuda_kernel(size_k: int, size_v: int, n_shared: int) -> bool:
    """`n_shared` heads of Q read one of K. Source: ggml-cuda/fattn.cu
    `ggml_cuda_get_best_fattn_kernel`."""
    match size_k:
        case 40 | 64 | 72 | 80 | 96 | 112 | 128 | 256:
            return size_v == size_k
        case 192:
            return size_v == 128 and n_shared % 8 == 0
        case 320:
            return size_v == 256 and n_shared % 32 == 0
        case 512 | 576:
            return size_v == 512 and n_shared >= 2
        case _:
            return False
