"""What is counted of requests: by day, key and model. Pure.

A day is a date of this machine's calendar, "2026-11-29". Of seconds and joules only those count
that are known; None: none of them were.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from edgellm.meter.energy.joules import cost


class Use(msgspec.Struct, kw_only=True):
    """Of requests that were let in, unless it says otherwise. An answer that its client left counts
    as far as it had come."""

    n_requests: int = 0
    n_refused: int = 0  # for a quota: not let in
    n_prompt: int = 0  # tokens, those of the next line among them
    n_cached: int = 0  # of these, found in the prefix cache
    n_output: int = 0
    work_s: float | None = None  # of the model's time: of each step its part
    energy_j: float | None = None

    @property
    def n_tokens(self) -> int:
        """As quotas count them: all that went in and came out, cached or not."""
        return self.n_prompt + self.n_output

    def add(self, other: "Use") -> None:
        self.n_requests += other.n_requests
        self.n_refused += other.n_refused
        self.n_prompt += other.n_prompt
        self.n_cached += other.n_cached
        self.n_output += other.n_output
        self.work_s = added(self.work_s, other.work_s)
        self.energy_j = added(self.energy_j, other.energy_j)


class Day(msgspec.Struct, kw_only=True):
    """`keys`: by key and model. `machine_j`: all that the sensors told of, idling too."""

    keys: dict[str, dict[str, Use]] = {}
    machine_j: float | None = None

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.keys) or self.machine_j is not None

    def use(self, key: str, model: str) -> Use:
        return self.keys.setdefault(key, {}).setdefault(model, Use())

    def n_tokens(self, key: str) -> int:
        return sum(use.n_tokens for use in self.keys.get(key, {}).values())

    def add(self, other: "Day") -> None:
        for key, models in other.keys.items():
            for model, use in models.items():
                self.use(key, model).add(use)
        self.machine_j = added(self.machine_j, other.machine_j)


class Row(Use, kw_only=True):
    """As it is told: of one day, key and model."""

    day: str
    key: str
    model: str
    cost: float | None = None  # of energy_j; None: no price is set


class MachineRow(msgspec.Struct, kw_only=True):
    """All that a day took, whoever it was for: idling too."""

    day: str
    energy_j: float | None = None
    cost: float | None = None


class Allowance(msgspec.Struct, kw_only=True):
    """What a key may, and what is left of it now. None: no bound."""

    key: str
    n_running: int = 0  # requests
    used_today: int = 0  # tokens
    max_concurrent: int | None = None
    tokens_per_minute: int | None = None
    left_this_minute: int | None = None
    tokens_per_day: int | None = None
    left_today: int | None = None


class Report(msgspec.Struct, kw_only=True):
    rows: list[Row] = []  # the oldest day first
    machine: list[MachineRow] = []  # none for who may see their own only
    allowances: list[Allowance] = []
    kept_days: int | None = None  # that are counted and kept; None: not said
    currency: str = "USD"
    price_per_kwh: float | None = None


def report(
    days: Mapping[str, Day], *, key: str | None = None, price: float | None, currency: str
) -> Report:
    """`key`: of this one alone. None: of all, and of the machine."""
    rows, machine = [], []
    for day, told in sorted(days.items()):
        rows += list(_rows(day, told, key, price))
        if key is None and told.machine_j is not None:
            joules = told.machine_j
            machine.append(MachineRow(day=day, energy_j=joules, cost=_cost(joules, price)))
    return Report(rows=rows, machine=machine, price_per_kwh=price, currency=currency)


def _rows(day: str, told: Day, key: str | None, price: float | None) -> Iterator[Row]:
    for name, models in sorted(told.keys.items()):
        if key is None or name == key:
            for model, use in sorted(models.items()):
                money, counts = _cost(use.energy_j, price), msgspec.structs.asdict(use)
                yield Row(day=day, key=name, model=model, cost=money, **counts)


def total(days: Iterable[Day]) -> Day:
    all_of_it = Day()
    for day in days:
        all_of_it.add(day)
    return all_of_it


def added(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else a + b


def _cost(joules: float | None, price: float | None) -> float | None:
    return None if joules is None or price is None else cost(joules, price)
