"""A history as braille: two moments a cell across, four levels up. Values in, text out.

A level of n dots is filled from the bottom. Zero is a line of dots on the floor; an unknown moment
is blank: nothing ran, or nobody looked.
"""

from collections.abc import Sequence

_LEFT = (0x00, 0x40, 0x44, 0x46, 0x47)  # 0 to 4 dots of the left column, from the bottom
_RIGHT = (0x00, 0x80, 0xA0, 0xB0, 0xB8)
# A blank cell is a space: some fonts draw U+2800 as six hollow rings.
_CELLS = (" ", *(chr(0x2800 + dots) for dots in range(1, 256)))
_LADDER = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


def graph(values: Sequence[float | None], width: int, height: int, top: float) -> tuple[str, ...]:
    """`height` lines of `width` cells; the newest value stands at the right edge.

    `top` is the value at the upper edge, 0 the lower one; what is above is cut off.
    """
    n_shown = min(2 * width, len(values))
    shown = values[len(values) - n_shown :]
    dots = [0] * (2 * width - n_shown) + [_dots(value, 4 * height, top) for value in shown]
    return tuple(
        "".join(
            _CELLS[_LEFT[_part(dots[x], floor)] + _RIGHT[_part(dots[x + 1], floor)]]
            for x in range(0, 2 * width, 2)
        )
        for floor in range(4 * (height - 1), -1, -4)
    )


def ceiling(values: Sequence[float | None]) -> float:
    """A round number no value exceeds: a scale that holds still while the values move."""
    highest = max((value for value in values if value is not None), default=0.0)
    step = 1.0
    while step * _LADDER[-1] < highest:
        step *= 10
    return next(step * rung for rung in _LADDER if step * rung >= highest)


def _dots(value: float | None, n_levels: int, top: float) -> int:
    if value is None:
        return 0
    return min(max(round(value / top * n_levels), 1), n_levels)


def _part(n_dots: int, floor: int) -> int:
    return min(max(n_dots - floor, 0), 4)
