"""The real llama.cpp in tests: the demo model that ships, and the recorded files where they are."""

import json
from pathlib import Path

import pytest

from edgellm import resources
from edgellm.selector.plan import Placement, Plan

SHARED_MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"

needs_shared_models = pytest.mark.skipif(
    not SHARED_MODELS.is_dir(), reason="the folder shared/models is not beside this checkout"
)


def demo_path() -> Path:
    return resources.demo_model()


def expected() -> list[dict]:
    """The recorded greedy continuations, or none where the folder is absent."""
    if not SHARED_MODELS.is_dir():
        return []
    rows = json.loads((SHARED_MODELS / "EXPECTED.json").read_text())
    return [row for row in rows if "greedy_ids" in row]


def plan(**changes) -> Plan:
    """A small CPU plan, made by hand: these tests are of the runner, not of the selector."""
    values = {
        "model": "test", "file": "test.gguf", "quant": "?", "placement": Placement((), 0),
        "n_ctx": 4096,
        "n_ctx_seq": 512, "n_parallel": 8, "n_seq_max": 8, "kv_type_k": "f16", "kv_type_v": "f16",
        "kv_unified": True, "n_batch": 512, "n_ubatch": 512, "n_outputs_max": 8, "n_threads": 1,
        "flash_attention": False, "swa_full": False,
        "prefix_ram_bytes": 64 << 20,
    }  # fmt: skip
    return Plan(**(values | changes))
