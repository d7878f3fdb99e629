"""What answers cost: the engines' work and the sensors' joules, brought together once a second."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from edgellm.chat.events import Finished
from edgellm.meter.energy.accounting import Account
from edgellm.meter.energy.joules import cost
from edgellm.meter.energy.ledger import Work
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Hardware
from edgellm.runner.engine import Engine
from edgellm.server.served import Served
from edgellm.status import EnergyStatus


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a kilowatt hour costs. None: nobody said, and no cost is told."""

    per_kwh: float | None = None
    currency: str = "USD"


class Joules:
    def __init__(
        self, hardware: Hardware, samples: Callable[[], tuple[Sample, ...]], tariff: Tariff
    ) -> None:
        self._account, self._samples, self._tariff = Account(hardware), samples, tariff
        self._seen_j, self._n_seen = 0.0, 0  # of ended requests whose joules are known
        self._seen_s: float | None = 0.0  # that their work took; None: not all of it was told

    def tick(self, now_s: float, models: Iterable[Served]) -> None:
        for served in models:
            self._account.note(served.engine, _work(served))
        self._account.read(now_s, self._samples())

    def priced(self, engine: Engine, finished: Finished) -> Finished:
        work = Work(
            finished.request_id,
            finished.step_share,
            finished.n_computed,
            finished.step_share_s,
        )
        joules = self._account.end(engine, work)
        if joules is None:
            return finished
        if not finished.n_output:  # what is only read has no tokens to divide its joules by
            return replace(finished, energy_j=joules)
        self._seen_j += joules
        self._n_seen += finished.n_output
        told_s = finished.step_share_s
        known = self._seen_s is not None and told_s is not None
        self._seen_s = (self._seen_s or 0.0) + (told_s or 0.0) if known else None
        return replace(finished, energy_j=joules)

    def status(self) -> EnergyStatus | None:
        totals = self._account.totals
        if totals is None:
            return None
        price = self._tariff.per_kwh
        return EnergyStatus(
            total_j=totals.total_j,
            idle_j=totals.idle_j,
            requests_j=totals.requests_j,
            power_w=totals.power_w,
            j_per_token=self._seen_j / self._n_seen if self._n_seen else None,
            tok_s=self._n_seen / self._seen_s if self._n_seen and self._seen_s else None,
            cost=None if price is None else cost(totals.total_j, price),
            currency=self._tariff.currency,
        )


def _work(served: Served) -> tuple[Work, ...]:
    gauge = served.engine.gauge
    return tuple(Work(*row) for row in gauge.work) if gauge else ()
