"""Fit what a model's size and age let expect of its rating, and try it on models left out.

    python scripts/fit_ratings.py

Least squares over the rated models of profiles/ratings.toml:

    points = at_0 + per_doubling × s + per_doubling_2 × s² + per_month × m + base, if it is one

`base` is not fitted: two models of the leaderboard differ in nothing else. Then each model is
estimated from all others, with its family's help; the spread is what eight in ten keep. The rows
for the profile go to stdout, the report to stderr.
"""

import math
import sys
from collections.abc import Sequence

import numpy as np

from edgellm.models.known.ratings import Facts, Kind, Rated, load_ratings, rated_facts

Row = tuple[Rated, Facts]
KEPT = 0.8


def main() -> None:
    for kind in ("chat", "code"):
        rows = rated_facts()
        values = fitted(rows, kind)
        errors = left_out(rows, kind)
        spread = math.ceil(np.quantile(np.abs(errors), KEPT, method="higher"))
        print(f"[{kind}]")
        for name, value in zip(_NAMES, values, strict=True):
            print(f"{name} = {value:.2f}")
        print(f"spread = {spread}\n")
        _report(rows, kind, errors)


_NAMES = ("at_0", "per_doubling", "per_doubling_2", "per_month")


def fitted(rows: Sequence[Row], kind: Kind) -> list[float]:
    """Source: numpy.linalg.lstsq."""
    terms = np.array([_terms(facts) for _, facts in rows])
    points = np.array([row.points(kind) - _base(facts, kind) for row, facts in rows])
    return [float(value) for value in np.linalg.lstsq(terms, points, rcond=None)[0]]


def left_out(rows: Sequence[Row], kind: Kind) -> list[float]:
    """Of each model, published minus estimated from all the others."""
    return [_error(rows, n, kind) for n in range(len(rows))]


def _error(rows: Sequence[Row], n: int, kind: Kind) -> float:
    row, facts = rows[n]
    others = [*rows[:n], *rows[n + 1 :]]
    values = np.array(fitted(others, kind))

    def expected(one: Facts) -> float:
        return float(np.array(_terms(one)) @ values) + _base(one, kind)

    off = [o.points(kind) - expected(one) for o, one in others if one.family == facts.family]
    return row.points(kind) - expected(facts) - sum(off) / (len(off) + 1)


def _terms(facts: Facts) -> list[float]:
    return [1.0, facts.size, facts.size**2, facts.months]


def _base(facts: Facts, kind: Kind) -> float:
    return load_ratings().fit(kind).base if facts.is_base else 0.0


def _report(rows: Sequence[Row], kind: Kind, errors: Sequence[float]) -> None:
    sizes = sorted(abs(error) for error in errors)
    print(
        f"{kind}: {len(rows)} rated; left out, half are within {sizes[len(sizes) // 2]:.0f} points "
        f"and the worst is off by {sizes[-1]:.0f}",
        file=sys.stderr,
    )
    for (row, _), error in sorted(zip(rows, errors, strict=True), key=lambda pair: pair[1]):
        print(f"  {row.model:32s}{row.points(kind):8.0f}{error:+6.0f}", file=sys.stderr)


if __name__ == "__main__":
    main()
