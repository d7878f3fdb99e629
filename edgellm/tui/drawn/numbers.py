"""Numbers as the screen shows them: short, with their unit, a dash where nobody knows."""

from edgellm import units
from edgellm.units import DASH, GIB, binary_step


def count(n: int | None) -> str:
    """32768 -> "32,768"."""
    return DASH if n is None else f"{n:,}"


def short_count(n: int | None) -> str:
    return DASH if n is None else units.short_count(n)


def rate(per_s: float | None) -> str:
    """34.51 -> "34.5", 1210.4 -> "1,210": the number alone, for a column headed tok/s."""
    if per_s is None:
        return DASH
    return f"{per_s:,.0f}" if per_s >= 99.95 else f"{per_s:.1f}"


def percent(ratio: float | None) -> str:
    return f"{DASH} %" if ratio is None else f"{100 * ratio:.0f} %"


def celsius(temperature_c: float | None) -> str:
    return f"{DASH} °C" if temperature_c is None else f"{temperature_c:.0f} °C"


def watts(power_w: float | None, limit_w: float | None = None) -> str:
    """ "312 W", "312/450 W"; a Raspberry Pi's "4.2 W" keeps its decimal."""
    if power_w is None:
        return f"{DASH} W"
    drawn = f"{power_w:.1f}" if power_w < 9.95 else f"{power_w:.0f}"
    return f"{drawn} W" if limit_w is None else f"{drawn}/{limit_w:.0f} W"


def joules(energy_j: float | None) -> str:
    """ "812 J", "31.4 kJ", "2.1 MJ", "1.4 kWh": from ten megajoules on, as it is paid."""
    if energy_j is None:
        return f"{DASH} J"
    if energy_j >= 1e7:
        return f"{energy_j / 3.6e6:.1f} kWh"
    for size, name in ((1e6, "MJ"), (1e3, "kJ")):
        if energy_j >= 0.9995 * size:
            return f"{energy_j / size:.1f} {name}"
    return f"{energy_j:.0f} J"


def joules_per_token(energy_j: float | None) -> str:
    return f"{DASH} J/token" if energy_j is None else f"{energy_j:.3g} J/token"


def hertz(clock_hz: float | None) -> str:
    if clock_hz is None:
        return f"{DASH} GHz"
    return f"{clock_hz / 1e9:.2f} GHz" if clock_hz >= 9.995e8 else f"{clock_hz / 1e6:.0f} MHz"


def part_of(part_bytes: int | None, whole_bytes: int | None) -> str:
    """ "18.2/24.0 GiB": the whole's unit serves both."""
    if whole_bytes is None:
        return f"{_scaled(part_bytes, *_step(part_bytes))}/{DASH} {_step(part_bytes)[1]}"
    step = _step(whole_bytes)
    return f"{_scaled(part_bytes, *step)}/{_scaled(whole_bytes, *step)} {step[1]}"


def ratio(part: float | None, whole: float | None) -> float | None:
    """None when either is unknown, or there is nothing to be a part of."""
    return None if part is None or not whole else part / whole


def off_by(measured: float | None, predicted: float | None) -> str:
    """By how much a prediction was off: "+0.4 %", "+0.0 %"; never "-0.0 %"."""
    off = ratio(measured, predicted)
    return DASH if off is None else f"{100 * (off - 1):+z.1f} %"


def _step(n_bytes: int | None) -> tuple[int, str]:
    return binary_step(n_bytes) if n_bytes else (GIB, "GiB")


def _scaled(n_bytes: int | None, size: int, _name: str) -> str:
    return DASH if n_bytes is None else f"{n_bytes / size:.1f}"
