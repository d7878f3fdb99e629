"""Where llama.cpp's own estimate is not what it then takes, and how the oracle puts that right.

While it builds a graph, llama.cpp tells the scheduler which device computes a layer's norms: that
layer's (src/llama-context.cpp graph_get_cb). The estimate with `no_alloc` forgets that again before
it adds up (ggml_backend_sched_reserve_size begins with a reset), so that the norms at the border of
two devices are given to the first, and what they read crosses over beside what they give: four
rows of activations too many on each device after the first, 64 MiB for a 70 B model.

So virtual devices refuse other layers' norms, and the scheduler ends where a real load's does.
Left out: `l_last`, which is told in the same way (deepseek4, qwen4exp).
"""

from edgellm.runner.oracle.messages import Question
from edgellm.selector.graph.schedule import FEW_TOKENS
from edgellm.selector.placing.proportions import layer_counts


def norm_layers(question: Question) -> list[range | None]:
    """For each device the layers whose norms are its; None where nothing is told."""
    n_devices = len(question.devices)
    if not question.n_layers or not n_devices:
        return [None] * n_devices
    n_all = question.n_layers + 1
    n_gpu = n_all if question.n_gpu_layers < 0 else min(question.n_gpu_layers, n_all)
    if n_gpu < n_all and _n_tokens(question) >= FEW_TOKENS:
        return [None] * n_devices
    split = question.tensor_split or tuple(float(one.free_bytes) for one in question.devices)
    ranges, start = [], n_all - n_gpu
    for count in layer_counts(split, n_gpu):
        ranges.append(range(start, start + count))
        start += count
    if n_gpu == n_all and n_devices == 1:
        return [None]  # all of them, which needs no refusing
    return list(ranges)


def _n_tokens(question: Question) -> int:
    return min(question.n_ctx, question.n_ubatch)
