"""The plan of a worker that is measured alone, without a server around it."""

from edgellm.selector.plan import Placement, Plan


def plan_alone(n: int) -> Plan:
    """`n` conversations of 256 tokens in one pool, on two threads of the CPU."""
    return Plan(
        model="bench", file="bench.gguf", quant="?", placement=Placement((), 0), n_ctx=256 * n,
        n_ctx_seq=256, n_parallel=n, n_seq_max=n, kv_type_k="f16", kv_type_v="f16",
        kv_unified=True, n_batch=512, n_ubatch=512, n_outputs_max=n, n_threads=2,
        flash_attention=None, swa_full=False,
    )  # fmt: skip
