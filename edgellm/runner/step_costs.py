"""What a step takes by how many rows it decodes. Pure: it is told what steps took.

Not a line, and not even rising: kernels prefer some numbers of rows (0.5 B on two cores: 1 row
22 ms, 3 rows 49, 4 rows 31). So every number is remembered by itself, what lies between two is
read between them, and what lies beyond them is taken for a row's cost more.
"""

_SMOOTHING = 0.3  # weight of the newest step
_ROW_RATIO = 0.25  # of the lightest step: what a row more is taken for while one size was seen


class StepCosts:
    def __init__(self) -> None:
        self._seen: dict[int, float] = {}  # rows: seconds

    def observe(self, n_rows: int, elapsed_s: float) -> None:
        """A step without prompts. What a draft model took is not part of it."""
        known_s = self._seen.get(n_rows, elapsed_s)
        self._seen[n_rows] = known_s + _SMOOTHING * (elapsed_s - known_s)

    def step_s(self, n_rows: int) -> float | None:
        """None before any step was seen."""
        below = max((n for n in self._seen if n <= n_rows), default=None)
        above = min((n for n in self._seen if n >= n_rows), default=None)
        if below is None or above is None:
            known = below if above is None else above
            return None if known is None else self._beyond(known, n_rows)
        low_s, high_s = self._seen[below], self._seen[above]
        return low_s + (high_s - low_s) * (n_rows - below) / max(1, above - below)

    def _beyond(self, known: int, n_rows: int) -> float:
        least, most = min(self._seen), max(self._seen)
        row_s = self._seen[least] * _ROW_RATIO
        if most > least:
            row_s = (self._seen[most] - self._seen[least]) / (most - least)
        known_s = self._seen[known]
        return max(known_s * min(1.0, n_rows / known), known_s + row_s * (n_rows - known))
