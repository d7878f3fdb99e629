"""How far the speed model is off on devices that it has never seen.

    python scripts/bench/speed_holdout.py --data benchmarks.csv [--committed] [--every-row]

Each device in turn is left out, all factors and spreads are fitted to the others' rows, and its
rows are predicted. With --committed nothing is fitted: profiles/speed.toml as it is predicts every
row, which is the right question for rows that it was not made from.

error   predicted / measured - 1, in tokens a second
inside  part of the rows between the p10 and p90 that were stated; 80 % would be right
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from fit_speed import Model, fit, leave_one_out
from fit_spreads import spreads, with_spreads
from published import MEASURED, Case, cases, read

from edgellm.profiles import load_profiles
from edgellm.selector.plan import Range


@dataclass(frozen=True, slots=True)
class Outcome:
    case: Case
    predicted: Range

    @property
    def error(self) -> float:
        return self.predicted.p50 / self.case.row.tok_s - 1

    @property
    def is_inside(self) -> bool:
        return self.predicted.p10 <= self.case.row.tok_s <= self.predicted.p90


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, type=Path, metavar="CSV")
    parser.add_argument("--committed", action="store_true", help="fit nothing")
    parser.add_argument("--every-row", action="store_true", help="print each row, too")
    args = parser.parse_args()
    rows, left = cases(read(args.data, MEASURED))
    outcomes = list(_committed(rows) if args.committed else _held_out(rows))
    if args.every_row:
        _print_rows(outcomes)
    _print_groups(outcomes)
    _print_devices(outcomes)
    print(f"\n{len(left)} rows are left out")
    for why, n in Counter(row.why for row in left).most_common():
        print(f"  {n:4d}  {why}")


def _committed(rows: Sequence[Case]) -> Iterator[Outcome]:
    profile = load_profiles().speed
    return (Outcome(row, row.predict(profile.of_build(row.build))) for row in rows)


def _held_out(rows: Sequence[Case]) -> Iterator[Outcome]:
    """The spreads, too, come from the other devices: from how far those were off, left out."""
    model = Model(load_profiles().speed, rows)
    profiles = dict(leave_one_out(model, rows, fit(model, rows)))
    off: list[tuple[Case, float]] = []
    for row in rows:
        predicted = row.predict(profiles[row.device].of_build(row.build)).p50
        off.append((row, log(row.row.tok_s / predicted)))
    for name, profile in profiles.items():
        found = spreads(model, [pair for pair in off if pair[0].device != name])
        wide = with_spreads(profile, found)
        for row in rows:
            if row.device == name:
                yield Outcome(row, row.predict(wide.of_build(row.build)))


Group = tuple[str, Callable[[Case], bool]]


def _decodes(case: Case) -> bool:
    return not case.test.is_prompt and case.test.n_streams == 1


_GROUPS: tuple[Group, ...] = (
    ("decode", _decodes),
    ("  dense", lambda c: _decodes(c) and not c.is_moe),
    ("  MoE", lambda c: _decodes(c) and c.is_moe),
    ("  one device", lambda c: _decodes(c) and c.row.n_devices == 1),
    ("  several devices", lambda c: _decodes(c) and c.row.n_devices > 1),
    ("  deeper than 4096", lambda c: _decodes(c) and c.test.mean_depth > 4096),
    ("  CUDA, GDDR and LPDDR", lambda c: _decodes(c) and _is(c, "cuda") and not _has_hbm(c)),
    ("  CUDA, HBM", lambda c: _decodes(c) and _is(c, "cuda") and _has_hbm(c)),
    ("  Metal", lambda c: _decodes(c) and _is(c, "metal")),
    ("  Vulkan", lambda c: _decodes(c) and _is(c, "vulkan")),
    ("  ROCm", lambda c: _decodes(c) and _is(c, "rocm")),
    ("  CPU", lambda c: _decodes(c) and not c.hardware.accelerators),
    ("decode, 2 to 32 streams", lambda c: not c.test.is_prompt and c.test.n_streams > 1),
    ("prefill", lambda c: c.test.is_prompt),
    ("  dense", lambda c: c.test.is_prompt and not c.is_moe),
    ("  MoE", lambda c: c.test.is_prompt and c.is_moe),
    ("  several devices", lambda c: c.test.is_prompt and c.row.n_devices > 1),
)


def _is(case: Case, backend: str) -> bool:
    return any(device.backend == backend for device in case.hardware.accelerators)


def _has_hbm(case: Case) -> bool:
    architectures = {device.architecture or "" for device in case.hardware.accelerators}
    return bool(architectures & {"sm_60", "sm_70", "sm_80", "sm_90", "sm_100"})


def _print_groups(outcomes: Sequence[Outcome]) -> None:
    for grade, title in (("A", "maintainers' benches and llama-bench tables"),
                         ("B", "other measurements"), ("C", "self-reported")):  # fmt: skip
        own = [row for row in outcomes if row.case.row.grade == grade]
        if not own:
            continue
        print(f"\ngrade {grade}, {title}")
        print(f"  {'':26s}{'rows':>5s}{'devices':>8s}{'median':>8s}{'p90':>7s}{'inside':>8s}"
              f"{'median of devices':>19s}")  # fmt: skip
        for name, belongs in _GROUPS:
            _print_group(name, [row for row in own if belongs(row.case)])


def _print_group(name: str, rows: Sequence[Outcome]) -> None:
    if not rows:
        return
    errors = [abs(row.error) for row in rows]
    devices = {row.case.device for row in rows}
    medians = [median(abs(r.error) for r in rows if r.case.device == name) for name in devices]
    inside = sum(row.is_inside for row in rows) / len(rows)
    print(
        f"  {name:26s}{len(rows):5d}{len(devices):8d}{median(errors):8.1%}"
        f"{float(np.quantile(errors, 0.9)):7.0%}{inside:8.0%}{median(medians):19.1%}"
    )


def _print_devices(outcomes: Iterable[Outcome]) -> None:
    """What is far off: nothing of a kind hides in a median."""
    rows = [row for row in outcomes if row.case.row.grade == "A" and _decodes(row.case)]
    print("\ngrade A decode by device, the worst first: median error, rows")
    by_device = {
        name: [row.error for row in rows if row.case.device == name]
        for name in {row.case.device for row in rows}
    }
    worst = sorted(by_device.items(), key=lambda pair: -abs(median(pair[1])))
    for name, errors in worst:
        print(f"  {name:34s}{median(errors):+7.1%}{len(errors):5d}")


def _print_rows(outcomes: Iterable[Outcome]) -> None:
    for row in outcomes:
        case, said = row.case, row.predicted
        print(
            f"{case.row.grade} {case.device:30s} x{case.row.n_devices} {case.row.backend[:12]:12s} "
            f"{case.spec.name:16s} {case.row.quant[:10]:10s} {case.row.test[:26]:26s} "
            f"{case.row.tok_s:9.1f} {said.p10:9.1f} {said.p50:9.1f} {said.p90:9.1f} "
            f"{row.error:+7.1%}"
        )


if __name__ == "__main__":
    main()
