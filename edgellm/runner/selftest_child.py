"""Decodes a few tokens on one device and writes them as JSON; run as a program.

    python -m edgellm.runner.selftest_child DEVICE MODEL.gguf

DEVICE is ggml's name, "CPU" or "CUDA0". A child, because a build that doesn't suit the CPU or the
card ends its process (SIGILL, an abort in the driver) and must not end anybody else's.
"""

import os
import sys

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.probe import child_output
from edgellm.selector.plan import Placement, Plan

N_TOKENS = 8
_PROMPT = "Once upon a time"


def decode(device: str, path: str) -> dict[str, object]:
    os.environ["GGML_NO_BACKTRACE"] = "1"  # ggml's abort starts gdb where that is installed
    # Only now: loading a vendor's library may print, and stdout has been put aside.
    from edgellm.runner.batch import Batch, Row, Start
    from edgellm.runner.llama.backend import LlamaBackend

    backend = LlamaBackend(os.fsencode(path), _plan(device, path), lambda ratio: None)
    prompt = backend.tokenize(_PROMPT, add_special=True)
    params = GenerateParams(SamplingParams(temperature=0, ignore_eos=True), N_TOKENS)
    last = len(prompt) - 1
    rows = tuple(Row(0, pos, token, pos == last) for pos, token in enumerate(prompt))
    batch = Batch((Start(0, 0, params, tuple(prompt)),), rows, len(rows))
    tokens: list[int] = []
    for pos in range(len(prompt), len(prompt) + N_TOKENS):
        token = backend.decode(batch).sampled[0][0].token
        tokens.append(token)
        batch = Batch((), (Row(0, pos, token, True),), 0)
    text = b"".join(backend.piece(token) for token in tokens)
    return {"tokens": tokens, "text": text.decode("utf-8", "replace")}


def _plan(device: str, path: str) -> Plan:
    on_gpu = device != "CPU"
    return Plan(
        model="selftest", file=path, quant="", placement=Placement((), 999 if on_gpu else 0),
        n_ctx=256, n_ctx_seq=256, n_parallel=1, n_seq_max=1, kv_type_k="f16", kv_type_v="f16",
        kv_unified=True, n_batch=64, n_ubatch=64, n_outputs_max=1, n_threads=1,
        flash_attention=None, swa_full=False, devices=(device,) if on_gpu else (),
    )  # fmt: skip


if __name__ == "__main__":
    child_output.answer(lambda: decode(sys.argv[1], sys.argv[2]))
