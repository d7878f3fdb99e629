"""Requests that can't be queued yet, because another thread is preparing something for them."""

from dataclasses import dataclass

from edgellm.runner.messages import Generate


@dataclass(frozen=True, slots=True)
class _Asked:
    arrived_s: float
    deadline_s: float  # infinite: it has none


class Preparing:
    """What has to be known of each until then. Not their pictures, which take memory."""

    def __init__(self) -> None:
        self._asked: dict[int, _Asked] = {}  # by request_id

    def __len__(self) -> int:
        return len(self._asked)

    @property
    def next_deadline_s(self) -> float:
        return min((one.deadline_s for one in self._asked.values()), default=float("inf"))

    def add(self, request: Generate, now_s: float) -> None:
        deadline_s = request.params.claim.deadline_s
        end_s = float("inf") if deadline_s is None else deadline_s
        self._asked[request.request_id] = _Asked(now_s, end_s)

    def pop(self, request_id: int) -> float | None:
        """When it arrived. None: nobody waits for it any more."""
        asked = self._asked.pop(request_id, None)
        return asked.arrived_s if asked else None

    def pop_overdue(self, now_s: float) -> list[tuple[int, float]]:
        """The ids of those whose clients have stopped waiting, and when they arrived."""
        overdue = [
            (request_id, one.arrived_s)
            for request_id, one in self._asked.items()
            if one.deadline_s <= now_s
        ]
        for request_id, _ in overdue:
            del self._asked[request_id]
        return overdue
