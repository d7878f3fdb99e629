"""The last values of one quantity, for a graph. Pure."""

from collections import deque


class Ring:
    """Bounded; the oldest falls out. None is a gap: there was no reading at that moment."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a ring of {capacity} holds nothing")
        self._values: deque[float | None] = deque(maxlen=capacity)

    def append(self, value: float | None) -> None:
        self._values.append(value)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def capacity(self) -> int:
        return self._values.maxlen or 0

    @property
    def values(self) -> tuple[float | None, ...]:
        """The oldest first."""
        return tuple(self._values)

    @property
    def last(self) -> float | None:
        return self._values[-1] if self._values else None

    @property
    def largest(self) -> float | None:
        return max(self._known(), default=None)

    @property
    def mean(self) -> float | None:
        known = self._known()
        return sum(known) / len(known) if known else None

    def _known(self) -> list[float]:
        return [value for value in self._values if value is not None]
