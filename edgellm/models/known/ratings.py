"""How good a model is for a use: as rated by people, or as its size, age and family let expect.

profiles/ratings.toml has what is published, all on one scale, of one leaderboard on one day. Of a
model that is not on it we know parameters, the month of its release and its family: that lets
expect something, in a range, and is called what it is. Nothing unknown counts as zero.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from math import log2
from typing import Final, Literal

import msgspec

from edgellm.models.known import catalog
from edgellm.models.known.catalog import CatalogEntry
from edgellm.models.spec import ModelSpec
from edgellm.resources import ProfileRow, profiles_dir, read_profile
from edgellm.values import frozen

Kind = Literal["chat", "code"]

_ORIGIN: Final = (2025, 1)  # months count from here


@frozen
class Rating:
    """`spread`: None for a published one; else eight in ten lie so near. `is_beyond`: smaller or
    older than all that is rated, or of an age that nobody knows. `n_kin`: rated models of its
    family, by which an estimate was moved. `released`: None: nobody knows."""

    points: float
    spread: float | None = None
    is_beyond: bool = False
    n_kin: int = 0
    released: str | None = None
    is_base: bool = False

    @property
    def is_published(self) -> bool:
        return self.spread is None

    @property
    def counted(self) -> float:
        """What it is ranked by: of an estimate beyond what is rated the lower end, since nothing
        holds the trend there."""
        return self.points - (self.spread or 0.0 if self.is_beyond else 0.0)


class _Fit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    at_0: float
    per_doubling: float
    per_doubling_2: float
    per_month: float
    spread: float
    base: float

    def points(self, size: float, months: float, *, is_base: bool) -> float:
        by_size = self.per_doubling * size + self.per_doubling_2 * size * size
        return self.at_0 + by_size + self.per_month * months + (self.base if is_base else 0.0)


class Rated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`n_params` and `released`: of one that the catalog lacks and that tells about its kin."""

    model: str
    name: str  # as the leaderboard calls it
    chat: float
    code: float
    n_params: int | None = None
    released: str | None = None

    def points(self, kind: Kind) -> float:
        return self.chat if kind == "chat" else self.code


class Ratings(ProfileRow, frozen=True, kw_only=True):
    chat: _Fit
    code: _Fit
    rated: tuple[Rated, ...]

    def fit(self, kind: Kind) -> _Fit:
        return self.chat if kind == "chat" else self.code


@frozen
class Facts:
    """What an estimate goes by."""

    family: str
    size: float  # see `size_of`
    months: float
    is_base: bool


@cache
def load_ratings() -> Ratings:
    """Raises ConfigError naming the file."""
    return read_profile(profiles_dir() / "ratings.toml", Ratings)


def kind_of(use: str) -> Kind:
    return "code" if use == "code" else "chat"


def rating(entry: CatalogEntry, kind: Kind) -> Rating:
    """Published, or an estimate. Raises ConfigError."""
    table = load_ratings()
    row = next((row for row in table.rated if row.model == entry.name), None)
    if row:
        points = row.points(kind)
        return Rating(points, released=entry.released, is_base=entry.is_base)
    facts = facts_of(entry)
    points, n_kin = estimate(facts, kind, rated_facts())
    is_beyond = not _is_within(facts)
    spread = table.fit(kind).spread * (2 if is_beyond else 1)
    return Rating(points, spread, is_beyond, n_kin, entry.released, entry.is_base)


def rating_of_unknown(spec: ModelSpec, kind: Kind) -> Rating:
    """Of a file that the catalog doesn't have: by its size, as of the middle of those rated, since
    its age isn't known."""
    months = [facts.months for _, facts in rated_facts()]
    facts = Facts("", size_of(spec.n_params, spec.n_params), sum(months) / len(months), False)
    fit = load_ratings().fit(kind)
    age = fit.per_month * (max(months) - min(months)) / 2
    points = fit.points(facts.size, facts.months, is_base=False)
    return Rating(points, fit.spread + age, is_beyond=True)


def estimate(facts: Facts, kind: Kind, rated: Iterable[tuple[Rated, Facts]]) -> tuple[float, int]:
    """Points, and how many of the family moved them."""
    fit = load_ratings().fit(kind)

    def expected(one: Facts) -> float:
        return fit.points(one.size, one.months, is_base=one.is_base)

    off = [row.points(kind) - expected(one) for row, one in rated if one.family == facts.family]
    return expected(facts) + sum(off) / (len(off) + 1), len(off)


@cache
def rated_facts() -> tuple[tuple[Rated, Facts], ...]:
    """Raises ModelNotFound for a row that neither the catalog nor the table itself describes."""
    return tuple((row, _facts_of_row(row)) for row in load_ratings().rated)


def facts_of(entry: CatalogEntry) -> Facts:
    """Newer than all that is rated counts as being as new as the newest: the trend is not
    continued beyond what was seen."""
    known = _known_facts(entry)
    newest = max((facts.months for _, facts in rated_facts()), default=0.0)
    return replace(known, months=min(known.months, newest))


def size_of(n_params: int, n_active_params: int) -> float:
    """Doublings from 10⁹ of the geometric mean of all parameters and those that a token uses."""
    return log2(max(1, n_params) / 1e9) / 2 + log2(max(1, n_active_params) / 1e9) / 2


def months_of(released: str) -> float:
    year, month = released.split("-")
    return float(12 * (int(year) - _ORIGIN[0]) + int(month) - _ORIGIN[1])


def _facts_of_row(row: Rated) -> Facts:
    if row.n_params and row.released:
        family, size = row.model.partition(":")[0], size_of(row.n_params, row.n_params)
        return Facts(family, size, months_of(row.released), False)
    return _known_facts(catalog.find(row.model))


def _known_facts(entry: CatalogEntry) -> Facts:
    n_params = entry.n_params or _counted(entry)
    size = size_of(n_params, entry.n_active_params or n_params)
    return Facts(entry.family, size, months_of(entry.released), entry.is_base)


def _is_within(facts: Facts) -> bool:
    """No smaller or older than what is rated."""
    seen = [one for _, one in rated_facts()]
    is_as_large = facts.size >= min(one.size for one in seen)
    return is_as_large and facts.months >= min(one.months for one in seen)


def _counted(entry: CatalogEntry) -> int:
    quant = catalog.plannable_quants(entry)[0]
    return catalog.spec(entry, quant).n_params
