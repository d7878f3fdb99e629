"""Still pictures in plain characters, by plotext, which has one figure at a time."""

import math
import shutil
from collections.abc import Sequence
from typing import Any

_LINES = 12
_MOST_COLUMNS = 100
_STEPS = 5  # of an axis, at most


def plot(xs: Sequence[float], ys: Sequence[float], title: str) -> str:
    """A curve, from zero: a cut axis makes noise look like a fall."""
    plotext = blank(shutil.get_terminal_size((80, 24)).columns, _LINES)
    plotext.plot(list(xs), list(ys), marker="braille")
    upwards, along = _marks(ys), _marks(xs)
    plotext.ylim(0, upwards[-1])
    plotext.yticks(upwards, [f"{mark:,g}" for mark in upwards])
    plotext.xlim(0, max(*xs, 0.0) or along[-1])
    plotext.xticks(along, [f"{mark:,g}" for mark in along])
    plotext.title(title)
    return drawn()


def _marks(values: Sequence[float]) -> list[float]:
    """Round numbers from zero to the first that is no less than any of these."""
    highest = max(*values, 0.0) or 1.0
    power = 10.0 ** math.floor(math.log10(highest / _STEPS))
    step = next(one for one in (1, 2, 2.5, 5, 10) if one * power * _STEPS >= highest) * power
    return [step * i for i in range(math.ceil(highest / step) + 1)]


def blank(columns: int, lines: int) -> Any:
    """plotext, with an empty figure: a hundred columns wide at most, without colours."""
    import plotext

    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(min(_MOST_COLUMNS, columns), lines)
    return plotext


def drawn() -> str:
    """The figure, without blanks at its lines' ends."""
    import plotext

    text: str = plotext.uncolorize(plotext.build())
    return "\n".join(line.rstrip() for line in text.splitlines())
