"""Bytes are ints, everywhere; they turn into text and back here and nowhere else."""

import re

from edgellm.errors import BadRequest

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

_STEPS = ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"))
_FACTORS = {
    "": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB,
    "kib": KIB, "mib": MIB, "gib": GIB, "tib": TIB,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
}  # fmt: skip

_SECONDS = {"ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}

DASH = "–"  # an unknown number, on the screen


def format_bytes(n: int | None) -> str:
    """1536 -> "1.5 KiB". Binary units with binary names; a disk's "GB" is never meant."""
    if n is None:
        return DASH
    size, name = binary_step(n)
    return f"{n / size:.1f} {name}" if size > 1 else f"{n} {name}"


def binary_step(n: int) -> tuple[int, str]:
    """The unit that n bytes are told in: 1536 -> 1024, "KiB". What would round to 1024.0 of one is
    told in the next."""
    for size, name in _STEPS:
        if abs(n) / (size >> 10) >= 1023.95:
            return size, name
    return 1, "B"


def format_params(n: int) -> str:
    """7615616512 -> "7.6 B", 260032 -> "260 K": as the names of models count parameters."""
    return short_count(n, (" B", " M", " K"))


def short_count(n: int, names: tuple[str, str, str] = ("G", "M", "k")) -> str:
    """12034 -> "12.0k", never over five characters. `names` are those of 10⁹, 10⁶ and 10³."""
    for size, name in zip((10**9, 10**6, 10**3), names, strict=True):
        if n >= 0.9995 * size:  # less is at most 999 of the unit below
            scaled = n / size
            return f"{scaled:.0f}{name}" if scaled >= 99.95 else f"{scaled:.1f}{name}"
    return str(n)


def parse_bytes(text: str) -> int:
    """ "24GiB", "24g", "1.5 MB" -> bytes; kB, MB and GB are decimal. Raises BadRequest, also for a
    small number alone: who writes "--reserve 2" means no two bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower().removesuffix("/s"))
    unit = match and match[2].removesuffix("b") if match and match[2] == "b" else match and match[2]
    if not match or unit not in _FACTORS:
        raise BadRequest(f"{text!r} is not a size", hint="write it like 24GiB, 512MiB or 2GB")
    n_bytes = int(float(match[1]) * _FACTORS[unit])
    if 0 < n_bytes < MIB and match[2] == "":
        raise BadRequest(
            f"{text!r} has no unit and would be bytes", hint=f"write {match[1]}GiB, {match[1]}MiB …"
        )
    return n_bytes


def parse_seconds(text: str) -> float:
    """ "500ms", "90s", "10m", "1h", "90" -> seconds. Raises BadRequest, also for none at all."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|)", text.strip().lower())
    if not match or float(match[1]) <= 0:
        raise BadRequest(f"{text!r} is no time", hint="write it like 500ms, 90s, 10m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


def format_rate(per_s: float | None, unit: str = "tok/s") -> str:
    """34.51 -> "34.5 tok/s"; a number over 100 needs no decimals, one below 0.1 has two. Without a
    unit it is the number alone."""
    if per_s is None:
        return DASH
    digits = 2 if 0.005 <= per_s < 0.095 else 0 if per_s >= 99.95 else 1
    return f"{per_s:.{digits}f} {unit}".rstrip()


def format_seconds(seconds: float | None) -> str:
    """0.0123 -> "12 ms", 75 -> "1m15s"."""
    if seconds is None:
        return DASH
    if seconds * 1000 < 999.5:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
