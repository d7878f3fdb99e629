"""Qualcomm's Adreno GPU and Hexagon NPU, by the files that its kernels have.

The vendor's kernel (kgsl) names the model; many phones hide it from all but root. The upstream
driver (msm) names nothing.
"""

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.vendors.cards import Card

KGSL = "/sys/class/kgsl/kgsl-3d0"
_NPU_NODES = ("/dev/fastrpc-cdsp*", "/dev/adsprpc-smd*")


def read(evidence: Evidence) -> tuple[Card, ...]:
    found = [
        Card("qualcomm", name, is_unified=True) for name in (_adreno(evidence),) if name is not None
    ]
    if any(evidence.list(node) for node in _NPU_NODES):
        found.append(Card("hexagon", "Hexagon NPU", is_unified=True))
    return tuple(found)


def _adreno(evidence: Evidence) -> str | None:
    if evidence.list(KGSL):
        return f"Qualcomm {evidence.text(f'{KGSL}/gpu_model') or 'Adreno'}"
    for card in evidence.list("/sys/class/drm/card[0-9]*"):
        driver = evidence.real_path(f"{card}/device/driver").rpartition("/")[2]
        if "-" not in card and driver in ("msm", "msm_dpu", "adreno"):
            return "Qualcomm Adreno"
    return None
