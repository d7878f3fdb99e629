"""Fit the factors of profiles/speed.toml to published benchmarks.

    python scripts/fit_speed.py --data benchmarks.csv [--write]

The table's columns are in scripts/bench/published.py, which also says which rows are left out and
why; scripts/bench/measured_speeds.csv is read beside it. Fitted are the factors of families that
some row is about. What a family differs from its backend, and that from PRIORS, is held small, so
that three rows of one card can't teach nonsense. Least squares of log time with Huber weights; a
device's rows count by the square root of their number. Other families, CPU kernels and costs of
types stay as they are placed.

The spreads are quantiles of how far devices are off when left out (scripts/bench/speed_holdout.py).
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import exp, inf, log
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "bench"))
sys.path.insert(0, str(Path(__file__).parent))

from fit_spreads import spreads, with_spreads
from published import MEASURED, Case, cases, read

from edgellm.profiles import load_profiles
from edgellm.selector.speed.speed_profile import BackendFamily, Era, SpeedProfile, Spread

PROFILE: Final = Path(__file__).parents[1] / "profiles" / "speed.toml"

Number = tuple[str, str]  # ("cuda-ada", "layer_s"), ("", "hop_s"), ("cuda<4500", "layer_ratio")

# What is believed of a backend before any row is seen (seconds, else ratios), and how far it may
# be from that, and a family from its backend: standard deviations of the logarithm.
_FIELDS: Final[Mapping[str, tuple[float, float]]] = {
    "layer_s": (0.6, 0.35), "batch_layer_s": (0.2, 0.1), "prompt_layer_s": (0.4, 0.25),
    "efficiency": (0.15, 0.3),
    "expert_efficiency": (0.25, 0.15), "memory_efficiency": (0.25, 0.15),
    "no_flash_ratio": (0.7, 0.2), "flops_ratio": (0.6, 0.5), "expert_flops_ratio": (0.6, 0.5),
    "attention_flops_ratio": (0.6, 0.3), "moe_layer_ratio": (0.2, 0.05),
    "recurrent_layer_ratio": (0.3, 0.1), "unpack_ratio": (0.6, 0.4),
}  # fmt: skip
_PRIORS: Final[Mapping[str, tuple[float, ...]]] = {
    "cuda": (55e-6, 66e-6, 110e-6, 0.92, 0.85, 0.85, 2.0, 0.5, 0.25, 0.6, 1.0, 1.3, 0.3),
    "metal": (120e-6, 130e-6, 140e-6, 0.92, 0.85, 0.8, 4.0, 0.65, 0.6, 0.6, 1.0, 1.3, 0.2),
    "vulkan": (70e-6, 84e-6, 100e-6, 0.87, 0.7, 0.7, 2.0, 0.4, 0.15, 0.3, 1.0, 1.3, 0.3),
    "rocm": (90e-6, 108e-6, 140e-6, 0.82, 0.7, 0.7, 2.0, 0.3, 0.15, 0.3, 1.0, 1.3, 0.3),
    "cpu": (10e-6, 10e-6, 10e-6, 0.72, 0.72, 0.6, 1.5, 1.0, 0.7, 0.35, 2.0, 10.0, 1.0),
}
# GeForce cards' peaks are told with sums in FP32, half of what their matrix units do with others;
# the rest's in full (profiles/devices.toml, fp16_tflops).
_TOLD_BY_HALVES: Final = ("cuda-turing", "cuda-ampere", "cuda-ada", "cuda-blackwell")
# What slows one slows the other: a step of its fields moves those, too.
_KIN: Final[Mapping[str, tuple[str, ...]]] = {
    "layer_s": ("batch_layer_s",), "efficiency": ("expert_efficiency",),
}  # fmt: skip
# Not asked of the rows: the only one with experts was a laptop with two kinds of cores, and none
# was measured both with flash attention and without. Measured on one Zen 4 core with 32 experts of
# which 4 are used; on two Zen 5 cores prompts of 512 and 2048 tokens took as long either way.
_PLACED: Final[Mapping[Number, float]] = {
    ("cpu", "expert_flops_ratio"): 0.35,
    ("cpu", "no_flash_ratio"): 1.0,
}
_GLOBALS: Final = {"hop_s": 200e-6, "pipeline_efficiency": 0.7}
# Builds before the number; the last year's differ little but for experts, and for several streams,
# which CUDA's recorded graphs are for since llama.cpp PR 19645.
_ERA_PRIORS: Final[Mapping[tuple[str, int], Mapping[str, tuple[float, float]]]] = {
    ("cuda", 4500): {
        "layer_ratio": (1.6, 0.4), "moe_layer_ratio": (1.2, 0.3), "flops_ratio": (0.9, 0.3),
        "batch_layer_ratio": (2.0, 0.4), "most_read_bytes_s": (1.2e12, 0.3),
    },
    ("cuda", 7400): {
        "layer_ratio": (1.1, 0.15), "moe_layer_ratio": (1.2, 0.3), "flops_ratio": (0.95, 0.1),
        "batch_layer_ratio": (2.0, 0.4),
    },
    ("cuda", 8070): {
        "layer_ratio": (1.0, 0.05), "moe_layer_ratio": (1.0, 0.05), "flops_ratio": (1.0, 0.05),
        "batch_layer_ratio": (2.0, 0.4),
    },
    ("metal", 4500): {
        "layer_ratio": (1.6, 0.4), "moe_layer_ratio": (1.2, 0.3), "flops_ratio": (0.9, 0.3),
    },
}  # fmt: skip
_ERAS_SHARE: Final = "batch_layer_ratio"
_GLOBAL_FREEDOM, _BOARD_FREEDOM = 0.4, 0.03
_MOST: Final = {"efficiency": 0.98, "expert_efficiency": 0.98, "memory_efficiency": 0.98}

_NOISE_DECODE, _NOISE_PREFILL = 0.06, 0.15
# What a figure of each grade is worth: maintainers' benches, others, and self-reported ones.
_GRADE_NOISE: Final = {"A": 1.0, "B": 1.5, "C": 2.5}
_HUBER: Final = 1.5  # in units of the noise: rows further off count less
_DERIVATIVE_STEP: Final = 0.02
_ROUNDS: Final = 4


@dataclass(frozen=True, slots=True)
class Column:
    """One unknown: how far from their priors the logarithms of some numbers are, together."""

    numbers: tuple[Number, ...]
    freedom: float


class Model:
    """A profile whose fitted numbers can be exchanged."""

    def __init__(self, profile: SpeedProfile, rows: Sequence[Case]) -> None:
        self._profile = profile
        self.families_of = {
            id(row): tuple({profile.family(device).name for device in _devices(row)})
            for row in rows
        }
        seen = {name for names in self.families_of.values() for name in names}
        backends = {row.name: row.backend for row in profile.families if row.name in seen}
        self.backends = {name: b for name, b in backends.items() if b in _PRIORS}
        self.columns = tuple(self._columns())
        self.prior = dict(self._priors())
        self.place = {number: i for i, number in enumerate(self.prior)}
        self.members = np.zeros((len(self.place), len(self.columns)))
        for j, column in enumerate(self.columns):
            for number in column.numbers:
                self.members[self.place[number], j] = 1.0

    def _columns(self) -> Iterable[Column]:
        """What a generation's boards have in common ("cuda-ada", "cuda-ada-pro") counts as one
        for all but the multiplications, whose peaks are published by more than two rules."""
        for field, (far, near) in _FIELDS.items():
            own = near / 2 if "flops" in field else _BOARD_FREEDOM
            moved = (field, *_KIN.get(field, ()))
            for backend in sorted(set(self.backends.values())):
                names = [name for name, of in self.backends.items() if of == backend]
                yield Column(tuple((name, f) for name in names for f in moved), far)
            for generation in sorted({name.removesuffix("-pro") for name in self.backends}):
                boards = [n for n in self.backends if n.removesuffix("-pro") == generation]
                yield Column(tuple((name, f) for name in boards for f in moved), near)
            for name in self.backends:
                yield Column(tuple((name, f) for f in moved), own)
        yield from (Column((("", field),), _GLOBAL_FREEDOM) for field in _GLOBALS)
        for era in self._profile.eras:
            for field, (_, free) in _era_priors(era).items():
                if field != _ERAS_SHARE:
                    yield Column(((_era_name(era), field),), free)
        eras = [era for era in self._profile.eras if _ERAS_SHARE in _era_priors(era)]
        free = _era_priors(eras[0])[_ERAS_SHARE][1]
        yield Column(tuple((_era_name(era), _ERAS_SHARE) for era in eras), free)

    def _priors(self) -> Iterable[tuple[Number, float]]:
        for name, backend in self.backends.items():
            for field, prior in zip(_FIELDS, _PRIORS[backend], strict=True):
                is_half = name in _TOLD_BY_HALVES and "flops_ratio" in field
                yield (name, field), prior * (2 if is_half else 1)
        yield from ((("", field), value) for field, value in _GLOBALS.items())
        for era in self._profile.eras:
            for field, (prior, _) in _era_priors(era).items():
                yield (_era_name(era), field), prior

    def values(self, unknowns: np.ndarray) -> dict[Number, float]:
        logs = {number: log(value) for number, value in self.prior.items()}
        for column, off in zip(self.columns, unknowns, strict=True):
            for number in column.numbers:
                logs[number] += float(off)
        free = {n: min(exp(value), _MOST.get(n[1], inf)) for n, value in logs.items()}
        return free | {n: value for n, value in _PLACED.items() if n in free}

    def profile(self, values: Mapping[Number, float]) -> SpeedProfile:
        families = tuple(
            replace(row, **{field: values[row.name, field] for field in _FIELDS})
            if row.name in self.backends
            else row
            for row in self._profile.families
        )
        eras = tuple(
            replace(era, **{field: values[_era_name(era), field] for field in _era_priors(era)})
            for era in self._profile.eras
        )
        changed = {field: values["", field] for field in _GLOBALS}
        return replace(self._profile, families=families, eras=eras, **changed)

    def numbers_of(self, row: Case) -> list[Number]:
        """Those that its time depends on."""
        names = [name for name in self.families_of[id(row)] if name in self.backends]
        numbers = [(name, field) for name in names for field in _FIELDS]
        backends = {self.backends[name] for name in names}
        eras = (e for e in self._profile.eras if row.build < e.before_build)
        first = next((e for e in eras if e.backend in backends), None)
        numbers += [(_era_name(first), field) for field in _era_priors(first)] if first else []
        return numbers + ([("", field) for field in _GLOBALS] if row.row.n_devices > 1 else [])


def fit(
    model: Model,
    rows: Sequence[Case],
    start: np.ndarray | None = None,
    slopes: np.ndarray | None = None,
) -> np.ndarray:
    """How far each column is from zero. `slopes` of an earlier fit, where this one is near."""
    unknowns = np.zeros(len(model.columns)) if start is None else start.copy()
    held = np.array([1 / column.freedom**2 for column in model.columns])
    weights = _weights(rows)
    for _ in range(_ROUNDS):
        values = model.values(unknowns)
        off = _deviations(rows, model.profile(values))
        jacobian = (_slopes(model, rows, values) if slopes is None else slopes) @ model.members
        huber = np.minimum(1.0, _HUBER / np.maximum(np.abs(off) * np.sqrt(weights), 1e-9))
        weighted = jacobian * (weights * huber)[:, None]
        left = weighted.T @ jacobian + np.diag(held)
        unknowns += np.linalg.solve(left, weighted.T @ off - held * unknowns)
    return unknowns


def leave_one_out(
    model: Model, rows: Sequence[Case], unknowns: np.ndarray
) -> Iterable[tuple[str, SpeedProfile]]:
    """For each device the profile that its rows had no part in."""
    slopes = _slopes(model, rows, model.values(unknowns))
    for name in sorted({row.device for row in rows}):
        others = [i for i, row in enumerate(rows) if row.device != name]
        again = fit(model, [rows[i] for i in others], unknowns, slopes[others])
        yield name, model.profile(model.values(again))


def _deviations(rows: Sequence[Case], profile: SpeedProfile) -> np.ndarray:
    """log(measured / predicted time)."""
    built = _at_builds(rows, profile)
    return np.array([log(row.predict(built[row.build]).p50 / row.row.tok_s) for row in rows])


def _slopes(model: Model, rows: Sequence[Case], values: Mapping[Number, float]) -> np.ndarray:
    """How the log time of each row follows the logarithm of each number."""
    usual = _at_builds(rows, model.profile(values))
    changed: dict[Number, Mapping[int, SpeedProfile]] = {}
    slopes = np.zeros((len(rows), len(model.prior)))
    for i, row in enumerate(rows):
        predicted = row.predict(usual[row.build]).p50
        for number in model.numbers_of(row):
            if number not in changed:
                more = values[number] * exp(_DERIVATIVE_STEP)
                changed[number] = _at_builds(rows, model.profile({**values, number: more}))
            slower = row.predict(changed[number][row.build]).p50
            slope = log(predicted / slower) / _DERIVATIVE_STEP
            slopes[i, model.place[number]] = slope
    return slopes


def _at_builds(rows: Sequence[Case], profile: SpeedProfile) -> Mapping[int, SpeedProfile]:
    return {build: profile.of_build(build) for build in {row.build for row in rows}}


def _weights(rows: Sequence[Case]) -> np.ndarray:
    often = Counter((row.device, row.test.is_prompt) for row in rows)
    noise = np.array(
        [
            _GRADE_NOISE[row.row.grade] * (_NOISE_PREFILL if row.test.is_prompt else _NOISE_DECODE)
            for row in rows
        ]
    )
    count = np.array([often[row.device, row.test.is_prompt] for row in rows])
    return np.asarray(1 / (noise**2 * np.sqrt(count)))


def _devices(row: Case) -> tuple[Any, ...]:
    return row.hardware.accelerators or row.hardware.devices


def _era_priors(era: Era) -> Mapping[str, tuple[float, float]]:
    return _ERA_PRIORS[era.backend, era.before_build]


def _era_name(era: Era) -> str:
    return f"{era.backend}<{era.before_build}"


# ---- the command


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, type=Path, metavar="CSV")
    parser.add_argument("--write", action="store_true", help="put the numbers into speed.toml")
    args = parser.parse_args()
    rows, left = cases(read(args.data, MEASURED))
    print(f"{len(rows)} rows of {len({row.device for row in rows})} devices, {len(left)} left out")
    model = Model(load_profiles().speed, rows)
    unknowns = fit(model, rows)
    fitted = model.profile(model.values(unknowns))
    _report("in the fit", rows, [(row, off) for row, off in _pairs(rows, fitted)])
    held_out: list[tuple[Case, float]] = []
    for name, profile in leave_one_out(model, rows, unknowns):
        held_out += _pairs([row for row in rows if row.device == name], profile)
    _report("left out, device by device", rows, held_out)
    fitted = with_spreads(fitted, spreads(model, held_out))
    if args.write:
        PROFILE.write_text(_written(PROFILE.read_text(), model, fitted, rows))
        print(f"written: {PROFILE}")


def _pairs(rows: Sequence[Case], profile: SpeedProfile) -> list[tuple[Case, float]]:
    """log(measured / predicted speed)."""
    return [(row, -float(off)) for row, off in zip(rows, _deviations(rows, profile), strict=True)]


def _report(title: str, rows: Sequence[Case], pairs: Sequence[tuple[Case, float]]) -> None:
    print(f"\n{title}: median and p90 of |predicted / measured - 1|")
    for grade in "ABC":
        for prompt in (False, True):
            errors = [
                abs(exp(-off) - 1)
                for case, off in pairs
                if case.row.grade == grade and case.test.is_prompt is prompt
            ]
            if errors:
                kind = "prefill" if prompt else "decode"
                middle, far = median(errors), float(np.quantile(errors, 0.9))
                print(f"  grade {grade} {kind:8s}{len(errors):5d} rows {middle:7.1%} {far:7.1%}")


def _written(text: str, model: Model, profile: SpeedProfile, rows: Sequence[Case]) -> str:
    """speed.toml with other numbers in the places of the old ones."""
    for family in profile.families:
        if family.name not in model.backends:
            continue
        own = [row for row in rows if family.name in model.families_of[id(row)]]
        devices = len({row.device for row in own})
        numbers = dict(_told(family, _FIELDS))
        numbers |= {"low": family.spread.low, "high": family.spread.high}
        numbers["prefill_low"] = family.prefill_spread.low
        numbers["prefill_high"] = family.prefill_spread.high
        source = (
            f"scripts/fit_speed.py {date.today()}, {len(own)} rows of {devices} "
            f"device{'s' * (devices > 1)}: {_publishers(own)}"
        )
        text = _in_block(text, rf'name = "{re.escape(family.name)}"', numbers, source)
    for era in profile.eras:
        numbers = dict(_told(era, _era_priors(era)))
        mark = rf'backend = "{era.backend}"\nbefore_build = {era.before_build}\b'
        text = _in_block(text, mark, numbers, f"scripts/fit_speed.py {date.today()}")
    for key in ("expert_spread", "expert_prefill_spread", "pipeline_spread"):
        spread: Spread = getattr(profile, key)
        pair = f"[{spread.low:.3g}, {spread.high:.3g}]"
        text = re.sub(rf"(?m)^{key} = \[[^]]*\]", f"{key} = {pair}", text, count=1)
    text = _put(text, "hop_us", profile.hop_s * 1e6)
    return _put(text, "pipeline_efficiency", profile.pipeline_efficiency)


def _publishers(rows: Sequence[Case]) -> str:
    """Whose figures they are, the most frequent first."""
    names = Counter(_publisher(row.row.source) for row in rows)
    told = ", ".join(name for name, _ in names.most_common(3))
    return f"{told} and others" if len(names) > 3 else told


def _publisher(source: str) -> str:
    """ "https://github.com/ggml-org/llama.cpp/pull/4766" -> "llama.cpp/pull/4766"."""
    if "://" not in source:
        return "tuning logs in public repositories"
    path = re.sub(r"^https?://(?:github\.com/|www\.)?", "", source).split(" ")[0]
    path = re.sub(r"^ggml-org/|/blob/(?:master|main)|#.*$", "", path)
    return "/".join(path.rstrip("/").split("/")[:3])


def _told(row: BackendFamily | Era, fields: Iterable[str]) -> Iterator[tuple[str, float]]:
    """In the file's words and units."""
    for field in fields:
        value = getattr(row, field)
        if field.endswith("_bytes_s"):
            yield field.replace("_bytes_s", "_gb_s"), value / 1e9
        elif field.endswith("_s"):
            yield field.removesuffix("_s") + "_us", value * 1e6
        else:
            yield field, value


def _in_block(text: str, mark: str, numbers: Mapping[str, float], source: str) -> str:
    """Changes the keys of the one table that holds `mark`."""
    blocks = re.split(r"(?m)^(?=\[\[)", text)
    (at,) = (i for i, block in enumerate(blocks) if re.search(rf"(?m)^{mark}", block))
    for key, value in numbers.items():
        blocks[at] = _put(blocks[at], key, value)
    blocks[at] = re.sub(r'(?m)^source = ".*"$', f'source = "{source}"', blocks[at], count=1)
    return "".join(blocks)


def _put(text: str, key: str, value: float) -> str:
    return re.sub(rf"(?m)^{key} = [-\d.e]+", f"{key} = {value:.4g}", text, count=1)


if __name__ == "__main__":
    main()
