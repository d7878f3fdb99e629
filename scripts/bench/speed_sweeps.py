"""Does the speed model rank first what was fastest? Published sweeps, each one decision.

    python scripts/bench/speed_sweeps.py --data benchmarks.csv

A sweep is one model on one machine, measured in several configurations: experts of so many layers
on the CPU, layers against experts, quantizations, backends. What is predicted to be fastest, of
those that fit by our own memory arithmetic, is held against what was: its regret is how much
slower it is than the best published one. To choose what the table says ran out of memory is a
failure whatever its speed. decisions.py lets the whole selector choose; here only the speed model
does, over the published configurations alone.
"""

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from published import Case, build_of, case_of, read, spec_of, test_of
from published_names import Row, device_of

from edgellm.errors import EdgellmError
from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Hardware
from edgellm.profiles import load_profiles
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.memory.layout import Aside, Layout
from edgellm.selector.memory.memory import needs
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.placing.machine import Machine
from edgellm.selector.plan import Placement, Share
from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed import decode_tok_s, ttft_s
from edgellm.selector.speed.speed_profile import SpeedProfile

_GOOD_REGRET = 0.10


@dataclass(frozen=True, slots=True)
class Choice:
    """One configuration of a sweep."""

    label: str
    measured_tok_s: float
    predicted_tok_s: float
    fits: bool  # by our arithmetic
    overflowed: bool  # by what was published


@dataclass(frozen=True, slots=True)
class Sweep:
    name: str
    choices: tuple[Choice, ...]

    @property
    def chosen(self) -> Choice:
        fitting = [choice for choice in self.choices if choice.fits]
        return max(fitting or self.choices, key=lambda choice: choice.predicted_tok_s)

    @property
    def best(self) -> Choice:
        """Of those that fitted: what a driver spilled into the host's memory is no choice."""
        held = [choice for choice in self.choices if not choice.overflowed]
        return max(held, key=lambda choice: choice.measured_tok_s)

    @property
    def regret(self) -> float:
        return 1 - self.chosen.measured_tok_s / self.best.measured_tok_s

    @property
    def is_good(self) -> bool:
        return self.regret <= _GOOD_REGRET and not self.chosen.overflowed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, type=Path, metavar="CSV")
    rows = read(parser.parse_args().data)
    sweeps = list(_sweeps(rows, load_profiles().speed))
    for sweep in sweeps:
        chosen, best = sweep.chosen, sweep.best
        verdict = "OUT OF MEMORY" if chosen.overflowed else f"{max(0.0, sweep.regret):.0%} slower"
        print(
            f"{'  ' if sweep.is_good else '! '}{sweep.name}: {verdict}; "
            f"chosen {chosen.label} ({chosen.measured_tok_s:g} tok/s), "
            f"best {best.label} ({best.measured_tok_s:g}), of {len(sweep.choices)}"
        )
    for kind in ("experts on the CPU", "layers or experts", "quantization", "backend", ""):
        own = [sweep for sweep in sweeps if sweep.name.startswith(kind)]
        print(
            f"{kind or 'all'}: {sum(sweep.is_good for sweep in own)} of {len(own)} at most "
            f"{_GOOD_REGRET:.0%} slower than the best, "
            f"{sum(sweep.chosen.overflowed for sweep in own)} out of memory"
        )


def _sweeps(rows: Sequence[Row], profile: SpeedProfile) -> Iterator[Sweep]:
    yield from _experts_on_the_cpu(rows, profile)
    yield from _layers_or_experts(rows, profile)
    same_source: Callable[[Row], str] = lambda row: f"{row.backend} {_publisher(row)}"  # noqa: E731
    yield from _whole(rows, profile, "quantization", same_source, lambda row: row.quant)
    yield from _whole(rows, profile, "backend", lambda row: row.quant, lambda row: row.backend)


# ---- what goes to the CPU


def _experts_on_the_cpu(rows: Sequence[Row], profile: SpeedProfile) -> Iterator[Sweep]:
    """By source, test and context."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if _n_cpu_moe(row) is not None and "fork" not in row.backend:
            context = re.sub(r";?vram\w*=[\d.]+", "", row.extra)
            groups.setdefault((row.device, row.model, row.test, context, row.source), []).append(
                row
            )
    for (device, model, test, context, _), own in groups.items():
        choices = _choices(own, profile)
        if len(choices) > 1:
            yield Sweep(f"experts on the CPU, {device}, {model}, {test}, {context}", choices)


def _layers_or_experts(rows: Sequence[Row], profile: SpeedProfile) -> Iterator[Sweep]:
    """-ngl against --n-cpu-moe, in a log of a fork whose cache types llama.cpp does not have."""
    own = [row for row in rows if "turboquant" in row.backend]
    choices = _choices(own, profile)
    if len(choices) > 1:
        yield Sweep(f"layers or experts, {own[0].device}, {own[0].model}", choices)


def _choices(rows: Sequence[Row], profile: SpeedProfile) -> tuple[Choice, ...]:
    made = (_partial_choice(row, profile) for row in rows)
    return tuple(choice for choice in made if choice is not None)


def _partial_choice(row: Row, profile: SpeedProfile) -> Choice | None:
    try:
        spec = spec_of(row.model, row.quant)
    except EdgellmError:
        return None
    machine, test = device_of(row), test_of(row.test)
    if spec is None or machine is None or test is None:
        return None
    layers, context = re.search(r"ngl (\d+)", row.ngl), re.search(r"ctx=(\d+)", row.extra)
    n_gpu = min(int(layers[1]) if layers else spec.n_layers + 1, spec.n_layers + 1)
    n_experts = min(_n_cpu_moe(row) or 0, spec.n_layers)
    kv = "q8_0" if "kv=q8_0" in row.extra else "f16"
    n_ctx = int(context[1]) if context else test.n_tokens + test.depth + 512
    shape = ContextShape(n_ctx, 1, 512, 1, kv, kv)
    placement, fits = _placed(spec, shape, machine[1], n_gpu, n_experts, profile)
    setup = Setup(spec, shape, placement, machine[1], profile.of_build(build_of(row)))
    if test.is_prompt:
        predicted = test.n_tokens / ttft_s(setup, test.n_tokens).p50
    else:
        predicted = decode_tok_s(setup, test.mean_depth).p50
    return Choice(
        f"-ngl {n_gpu} -ncmoe {n_experts}", row.tok_s, predicted, fits, _overflowed(row, placement)
    )


def _placed(
    spec: ModelSpec,
    shape: ContextShape,
    hardware: Hardware,
    n_gpu: int,
    n_experts: int,
    profile: SpeedProfile,
) -> tuple[Placement, bool]:
    device, first = hardware.accelerators[0], spec.n_layers + 1 - n_gpu
    layout = Layout((device.backend,), (range(first, spec.n_layers + 1),), Aside(n_experts))
    card, host = needs(spec, shape, layout)
    machine = Machine(hardware, pool_budgets(hardware), profile)
    shares = (
        Share(
            device.id, device.pool_id, tuple(range(first, spec.n_layers + 1)),
            card.weight_bytes, card.kv_bytes, card.compute_bytes, machine.overhead_bytes(device),
        ),
        Share(
            "cpu", hardware.host.id, tuple(range(first)),
            host.weight_bytes, host.kv_bytes, host.compute_bytes,
            expert_layers=tuple(range(first, n_experts)),
        ),
    )  # fmt: skip
    return Placement(shares, n_gpu, n_cpu_moe=n_experts), machine.shortfall(shares) is None


def _overflowed(row: Row, placement: Placement) -> bool:
    """18.3 GiB of weights on a card of 16: the driver paged, and decode fell below its best."""
    is_whole = not placement.n_cpu_moe and not placement.shares[-1].layers
    return is_whole and "gfx1200" in row.device


def _n_cpu_moe(row: Row) -> int | None:
    found = re.search(r"n_cpu_moe (\d+)", row.ngl)
    return int(found[1]) if found else None


# ---- all on one device


def _whole(
    rows: Sequence[Row],
    profile: SpeedProfile,
    title: str,
    same: Callable[[Row], str],
    differs: Callable[[Row], str],
) -> Iterator[Sweep]:
    """One decision for each device, model and kind of test: in the test with most labels."""
    groups: dict[tuple[object, ...], dict[str, dict[str, Case]]] = {}
    for case in _single(rows):
        key = (
            case.device,
            case.hardware.pools,
            case.spec.name,
            case.test.is_prompt,
            same(case.row),
        )
        by_test = groups.setdefault(key, {})
        by_test.setdefault(case.row.test, {}).setdefault(differs(case.row), case)
    for by_test in groups.values():
        test = max(by_test, key=lambda test: len(by_test[test]))
        by_label = by_test[test]
        if len(by_label) > 1:
            first = next(iter(by_label.values()))
            choices = tuple(_whole_choice(label, case, profile) for label, case in by_label.items())
            yield Sweep(f"{title}, {first.device}, {first.spec.name}, {test}", choices)


def _single(rows: Sequence[Row]) -> Iterator[Case]:
    for row in rows:
        case = case_of(row)
        if isinstance(case, Case) and row.n_devices == 1 and case.test.n_streams == 1:
            yield case


def _whole_choice(label: str, case: Case, profile: SpeedProfile) -> Choice:
    predicted = case.predict(profile.of_build(case.build)).p50
    return Choice(label, case.row.tok_s, predicted, fits=True, overflowed=False)


def _publisher(row: Row) -> str:
    """Self-reported rows have a source each; a device's are one person's."""
    return row.device if row.grade == "C" else row.source


if __name__ == "__main__":
    main()
