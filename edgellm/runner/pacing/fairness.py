"""Who is next: the order of waiting requests, by key, priority and age. Pure; it is told the time.

Between keys: the one that has been served least for its weight goes first. Service is counted in
tokens, those of an answer twice as dear as those of a prompt. A key that asks for nothing saves
nothing up. (VTC: Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024, algorithm
2.)

Within a key: by arrival, shifted by `_LEVEL_S` for each level of priority; lower levels go earlier,
as in vLLM. So a request waits for newcomers of a better priority no longer than the levels between
them are worth: nobody starves, and nothing has to be sorted anew as time goes by.

A request that doesn't fit into memory yet may be passed by others that do, but only so often; after
that all wait for it.
"""

from bisect import insort
from collections.abc import Iterator
from heapq import heapify, heappop, heapreplace
from itertools import chain

from edgellm.runner.sequence import Sequence

_LEVEL_S = 10.0  # that one level of priority is worth
_PROMPT_COST, _OUTPUT_COST = 1.0, 2.0  # of a token; VTC's w_p and w_q
_MOST_TRIES = 4  # requests that are tried in one step after the first that didn't fit


class Queue:
    def __init__(self, n_passes: int) -> None:
        """`n_passes`: how many may pass a request that doesn't fit yet."""
        self._n_passes = n_passes
        self._lines: dict[str, list[Sequence]] = {}  # by key, who waits, next one first
        self._running: list[Sequence] = []
        self._served: dict[str, float] = {}  # by key: cost of what has ended, by its weight
        self._last_served = 0.0  # of the key whose request ended last
        self._refused: list[Sequence] = []  # in this round
        self._by_id: dict[int, Sequence] = {}  # by request, waiting or running
        self._dated: dict[int, Sequence] = {}  # those of them that have a deadline
        self._quiet_until_s = float("inf")  # no deadline passes before that

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __iter__(self) -> Iterator[Sequence]:
        """All who wait, in the order in which they would be admitted if there were room for each.
        Lazy: the first of them cost no more than a look at each key."""
        spent, heads = self._spent(), []
        for i, (key, line) in enumerate(self._lines.items()):  # `i`: of two alike, the older key
            rest = iter(tuple(line))
            head = next(rest)
            heads.append((spent[key], _turn(head), i, head, rest))
        heapify(heads)
        while heads:
            spent_here, _, i, head, rest = heads[0]
            yield head
            spent_here += _cost(head)  # by what has been found of it, if it has come in
            if following := next(rest, None):
                heapreplace(heads, (spent_here, _turn(following), i, following, rest))
            else:
                heappop(heads)

    @property
    def unordered(self) -> Iterator[Sequence]:
        """All who wait, which is quicker than in order."""
        return chain.from_iterable(self._lines.values())

    def find(self, request_id: int) -> Sequence | None:
        """Waiting or running."""
        return self._by_id.get(request_id)

    def add(self, sequence: Sequence) -> None:
        key, spent = sequence.params.claim.key, self._spent()
        if key not in spent:  # it has been idle: it starts level with whoever got least
            least = min(spent.values(), default=self._last_served)
            self._served[key] = max(self._served.get(key, 0.0), least)
        insort(self._lines.setdefault(key, []), sequence, key=_turn)
        self._by_id[sequence.request_id] = sequence
        if sequence.params.claim.deadline_s is not None:
            self._dated[sequence.request_id] = sequence
            self._quiet_until_s = min(self._quiet_until_s, _deadline_s(sequence))

    def begin(self) -> None:
        """A new round of admissions."""
        self._refused.clear()

    def admit(self, sequence: Sequence) -> None:
        self._leave_line(sequence)
        self._running.append(sequence)
        for passed in self._refused:
            passed.n_passed += 1

    def refuse(self, sequence: Sequence) -> None:
        """There is no room for it yet."""
        self._refused.append(sequence)

    @property
    def closed(self) -> bool:
        """This round is over: somebody was passed too often already, or enough were tried."""
        passed_enough = any(one.n_passed >= self._n_passes for one in self._refused)
        return passed_enough or len(self._refused) > _MOST_TRIES

    def leave(self, sequence: Sequence) -> None:
        """It ended, running or waiting."""
        self._by_id.pop(sequence.request_id, None)
        self._dated.pop(sequence.request_id, None)
        if sequence in self._running:
            self._running.remove(sequence)
            key = sequence.params.claim.key
            self._last_served = self._served[key] = self._served.get(key, 0.0) + _cost(sequence)
        else:
            self._leave_line(sequence)

    @property
    def next_deadline_s(self) -> float:
        """The earliest of all, waiting or running. Infinite: nobody has one."""
        return min(map(_deadline_s, self._dated.values()), default=float("inf"))

    def overdue(self, now_s: float) -> list[Sequence]:
        """Waiting or running, but its client has stopped waiting."""
        if now_s < self._quiet_until_s:
            return []
        self._quiet_until_s = self.next_deadline_s
        return [each for each in self._dated.values() if _deadline_s(each) <= now_s]

    def _leave_line(self, sequence: Sequence) -> None:
        key = sequence.params.claim.key
        self._lines[key].remove(sequence)
        if not self._lines[key]:
            del self._lines[key]

    def _spent(self) -> dict[str, float]:
        """By key, of those that wait or run: what they got so far."""
        spent = {key: self._served.get(key, 0.0) for key in self._lines}
        for each in self._running:
            key = each.params.claim.key
            spent[key] = spent.get(key, self._served.get(key, 0.0)) + _cost(each)
        return spent


def by_turns(prefilling: list[Sequence], n_step: int) -> list[Sequence]:
    """The order in which prompts get their chunks: in every other step the one with the least left
    to read comes first, in the others the oldest. So a short prompt doesn't wait for a long one,
    and the long one takes at most twice the time."""
    return sorted(prefilling, key=lambda each: each.n_pending) if n_step % 2 else prefilling


def _turn(sequence: Sequence) -> float:
    return sequence.arrived_s + sequence.params.claim.priority * _LEVEL_S


def _cost(sequence: Sequence) -> float:
    n_read = sequence.n_prompt - sequence.n_cached
    cost = _PROMPT_COST * n_read + _OUTPUT_COST * sequence.n_output
    return cost / sequence.params.claim.weight


def _deadline_s(sequence: Sequence) -> float:
    deadline_s = sequence.params.claim.deadline_s
    return float("inf") if deadline_s is None else deadline_s
