"""NVIDIA's Jetson boards, by the device tree: their GPU is on no PCI bus, and before JetPack 6
there is no NVML on them at all."""

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.vendors.cards import Card
from edgellm.probe.vendors.readings import whole_lines
from edgellm.values import frozen

NVPMODEL = ("nvpmodel", "-q")

_TIMEOUT_S = 1.0  # it takes milliseconds
# The device tree's word → the GPU as CUDA calls it, and its compute capability
_CHIPS = {
    "nvidia,tegra194": ("Xavier", "sm_72"),
    "nvidia,tegra234": ("Orin", "sm_87"),
    "nvidia,tegra264": ("NVIDIA Thor", None),  # 10.1 or 11.0 by the version of CUDA
}


@frozen
class Board:
    model: str  # "NVIDIA Jetson AGX Orin Developer Kit"
    gpu: str
    architecture: str | None


def board(evidence: Evidence) -> Board | None:
    """None where the device tree names no Tegra chip."""
    words = (evidence.text("/proc/device-tree/compatible") or "").split("\x00")
    chip = next((_CHIPS[word] for word in words if word in _CHIPS), None)
    if chip is None:
        return None
    return Board(evidence.text("/proc/device-tree/model") or chip[0], *chip)


def card(found: Board) -> Card:
    """The board's GPU, which shares the host's memory."""
    return Card("nvidia", found.gpu, is_unified=True, architecture=found.architecture)


def power_mode(evidence: Evidence) -> str | None:
    """ "NV Power Mode: MAXN" -> "MAXN". It changes the clocks twofold."""
    if board(evidence) is None:
        return None
    output = evidence.run(NVPMODEL, _TIMEOUT_S)
    for line in whole_lines(output.text) if output else ():
        name, colon, mode = line.partition(":")
        if colon and name.strip().lower() == "nv power mode" and mode.strip():
            return mode.strip()
    return None
