"""AMD's targets: how KFD's numbers are called, and which are in a processor. Pure.

Needs nothing but the standard library: the set-up asks, too, before anything is installed.
"""

# Source: LLVM, User Guide for AMDGPU Backend, table of processors: those of type APU. MI300A is
# another matter: it has HBM, and its target, gfx942, is MI300X's as well.
_APUS = ("gfx902", "gfx909", "gfx90c", "gfx1013", "gfx1033", "gfx1035", "gfx1036", "gfx1103",
         "gfx1150", "gfx1151", "gfx1152", "gfx1153")  # fmt: skip


def gfx_name(version: int) -> str:
    """110001 → "gfx1101", 90010 → "gfx90a": two decimal digits a part, the last in hex."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def is_apu(gfx: str | None) -> bool:
    """Whether a target like "gfx1151" is a GPU inside a processor; None is not."""
    return gfx in _APUS
