"""What this machine measured of itself, kept between runs: its speed over what was predicted, and
what a driver's context takes.

One row for each device, backend, build of llama.cpp, architecture and type of weights; the last few
measurements of each, of which the median counts. The next plan is centred on them. All ratios of a
device are over one bandwidth of its memory, the first one's: what the probe measures differs from
boot to boot, and a ratio over another one would be wrong by as much. Kept in the user's cache
folder: losing it costs accuracy, never an error.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Final

import msgspec
import platformdirs

from edgellm.files import write_durably
from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Backend, Device, Hardware
from edgellm.runner.build import llama_build
from edgellm.selector.memory.shape import context_shape
from edgellm.selector.plan import Placement, Plan
from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed import decode_step, prompt_step
from edgellm.selector.speed.speed_profile import Calibration, SpeedProfile
from edgellm.selector.speed.stages import Stage, stages_of
from edgellm.selector.speed.work import Step, main_type
from edgellm.units import GIB

# Raise it when older ratios would mislead: of another speed model, or of a runner that was slower.
_VERSION: Final = 4
_MOST_ROWS: Final = 100
_MOST_MEASURED: Final = 9  # of each row; the oldest goes
_MOST_BYTES: Final = 1 << 20
_LEAST_RATIO, _MOST_RATIO = 0.05, 20.0  # beyond it is no measurement of this plan
_MOST_OVERHEAD_BYTES: Final = 8 * GIB
_LEAST_PART: Final = 0.2  # of a step's time that must be left for the device that is judged


@dataclass(frozen=True, slots=True)
class Measured:
    """Of a plan that ran alone on the machine. `decode_tok_s`: all streams together."""

    decode_tok_s: float | None = None
    n_streams: int = 1
    depth: int = 512  # tokens in each stream's cache, on average
    prefill_tok_s: float | None = None
    n_prompt: int = 2048
    prompt_depth: int = 0


class _Row(msgspec.Struct):
    device: str
    backend: Backend
    build: str
    architecture: str
    weight_type: str | None
    bandwidth_bytes_s: float | None = None
    decode: list[float] = []
    prefill: list[float] = []


class _Overhead(msgspec.Struct):
    device: str
    backend: Backend
    n_bytes: list[int]


class _File(msgspec.Struct):
    version: int = _VERSION
    rows: list[_Row] = []  # the last used at the end
    overheads: list[_Overhead] = []


class Calibrations:
    """`complaint` says what was wrong with the file, when something was."""

    def __init__(self, folder: Path | None = None, build: str | None = None) -> None:
        self._path = (folder or platformdirs.user_cache_path("edgellm")) / "calibration.json"
        self.build = llama_build() if build is None else build
        self.complaint: str | None = None

    def applied(self, profile: SpeedProfile) -> SpeedProfile:
        """The profile as this machine has corrected it."""
        return replace(profile, build=self.build, calibrations=self.load())

    def load(self) -> tuple[Calibration, ...]:
        file = self._read()
        speeds = [_calibration(row) for row in file.rows]
        taken = [
            Calibration(row.device, row.backend, overhead_bytes=int(median(row.n_bytes)))
            for row in file.overheads
            if row.n_bytes
        ]
        return (*speeds, *taken)

    def observe(
        self,
        plan: Plan,
        spec: ModelSpec,
        hardware: Hardware,
        profile: SpeedProfile,
        measured: Measured,
    ) -> None:
        """Takes note of how fast a plan really was. Figures that can't be true are dropped.

        `profile` may be corrected already: devices that are known are believed, and the rest of
        the time is what the device with the largest part of it took.
        """
        corrected = self.applied(profile)
        known, shape = corrected.calibrations, context_shape(plan)

        def stages(step: Step) -> tuple[Sequence[Stage], Sequence[Stage]]:
            setup = Setup(spec, shape, plan.placement, hardware, corrected)
            bare = replace(corrected, calibrations=tuple(map(_without_ratios, known)))
            return stages_of(replace(setup, profile=bare), step), stages_of(setup, step)

        file = self._read()
        if measured.decode_tok_s:
            step = decode_step(measured.depth, measured.n_streams)
            took_s = measured.n_streams / measured.decode_tok_s - profile.step_s
            self._note(file, spec, hardware, *stages(step), took_s, attrgetter("decode"))
        if measured.prefill_tok_s and not _overlaps(plan.placement):
            step = prompt_step(shape, measured.n_prompt, measured.prompt_depth)
            took_s = step.n_tokens / measured.prefill_tok_s - profile.step_s
            self._note(file, spec, hardware, *stages(step), took_s, attrgetter("prefill"))
        self._write(file)

    def observe_overhead(
        self,
        device: Device,
        free_before_bytes: int,
        free_after_bytes: int,
        accounted_bytes: int,
    ) -> None:
        """What a load took of a device's memory beyond llama.cpp's own figures."""
        taken = free_before_bytes - free_after_bytes - accounted_bytes
        if not 0 <= taken <= _MOST_OVERHEAD_BYTES:
            return
        file = self._read()
        row = next(
            (r for r in file.overheads if (r.device, r.backend) == (device.name, device.backend)),
            None,
        )
        if row is None:
            row = _Overhead(device.name, device.backend, [])
            file.overheads.append(row)
        row.n_bytes = [*row.n_bytes, taken][-_MOST_MEASURED:]
        self._write(file)

    # ---- judging one measurement

    def _note(
        self,
        file: _File,
        spec: ModelSpec,
        hardware: Hardware,
        bare: Sequence[Stage],
        corrected: Sequence[Stage],
        took_s: float,
        column: Callable[[_Row], list[float]],
    ) -> None:
        times = _times_by_kind(bare, hardware)
        if not times:
            return
        kind = max(times, key=lambda key: times[key])
        aside_s = sum(_aside_s(stage, hardware, kind) for stage in corrected)
        left_s = took_s - aside_s
        if left_s < _LEAST_PART * took_s:
            return
        ratio = times[kind] / left_s
        if _LEAST_RATIO <= ratio <= _MOST_RATIO:
            row = _row_of(file, *kind, self.build, spec)
            row.bandwidth_bytes_s = _bandwidth_bytes_s(file, row, hardware)
            ratios = column(row)
            ratios.append(ratio)
            del ratios[:-_MOST_MEASURED]

    # ---- the file

    def _read(self) -> _File:
        self.complaint = None
        try:
            with self._path.open("rb") as file:
                told = msgspec.json.decode(file.read(_MOST_BYTES), type=_File)
        except FileNotFoundError:
            return _File()
        except (OSError, msgspec.MsgspecError) as error:
            self.complaint = f"{self._path.name} can't be read and is begun anew: {error}"
            return _File()
        return told if told.version == _VERSION else _File()

    def _write(self, file: _File) -> None:
        del file.rows[:-_MOST_ROWS], file.overheads[:-_MOST_ROWS]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self._path, msgspec.json.format(msgspec.json.encode(file)))
        except OSError as error:
            self.complaint = f"{self._path.name} can't be written: {error.strerror}"


def _overlaps(placement: Placement) -> bool:
    """A prompt on several accelerators in a row: how much overlaps is not a device's speed."""
    return sum(bool(share.layers) for share in placement.shares[:-1]) > 1


_Kind = tuple[str, Backend]


def _kind(stage: Stage, hardware: Hardware) -> _Kind | None:
    if stage.device_id is None:
        return None
    device = hardware.device(stage.device_id)
    return device.name, device.backend


def _aside_s(stage: Stage, hardware: Hardware, judged: _Kind) -> float:
    """What is not the judged device's, or nothing that is judged."""
    return stage.apart_s if _kind(stage, hardware) == judged else stage.time_s


def _times_by_kind(stages: Iterable[Stage], hardware: Hardware) -> dict[_Kind, float]:
    times: dict[_Kind, float] = {}
    for stage in stages:
        kind = _kind(stage, hardware)
        if kind is not None:
            times[kind] = times.get(kind, 0.0) + stage.time_s - stage.apart_s
    return times


def _row_of(file: _File, device: str, backend: Backend, build: str, spec: ModelSpec) -> _Row:
    """Found or begun, and moved to the end."""
    new = _Row(device, backend, build, spec.architecture, main_type(spec), None, [], [])
    row = next((row for row in file.rows if _key(row) == _key(new)), None)
    if row is None:
        row = new
    else:
        file.rows.remove(row)
    file.rows.append(row)
    return row


def _bandwidth_bytes_s(file: _File, row: _Row, hardware: Hardware) -> float | None:
    """As predicted with: that of the device's other rows, else the memory's. Rows go, so each keeps
    it."""
    others = (r for r in file.rows if (r.device, r.backend) == (row.device, row.backend))
    known = next((r.bandwidth_bytes_s for r in others if r.bandwidth_bytes_s is not None), None)
    if known is not None:
        return known
    devices = (d for d in hardware.devices if (d.name, d.backend) == (row.device, row.backend))
    return hardware.pool(next(devices).pool_id).bandwidth_bytes_s


def _without_ratios(row: Calibration) -> Calibration:
    return replace(row, decode_ratio=None, prefill_ratio=None)


def _key(row: _Row) -> tuple[str | None, ...]:
    return row.device, row.backend, row.build, row.architecture, row.weight_type


def _calibration(row: _Row) -> Calibration:
    return Calibration(
        device=row.device,
        backend=row.backend,
        build=row.build,
        architecture=row.architecture,
        weight_type=row.weight_type,
        bandwidth_bytes_s=row.bandwidth_bytes_s,
        decode_ratio=median(row.decode) if row.decode else None,
        decode_spread=_spread(row.decode),
        n_decode=len(row.decode),
        prefill_ratio=median(row.prefill) if row.prefill else None,
        prefill_spread=_spread(row.prefill),
    )


def median(figures: Iterable[float]) -> float:
    """Python's, imported late: it takes decimal and random along, and most plans need none."""
    from statistics import median

    return median(figures)


def _spread(ratios: Sequence[float]) -> float:
    """How far a typical measurement lies from the median."""
    if not ratios:
        return 0.0
    middle = median(ratios)
    return median(abs(ratio / middle - 1) for ratio in ratios)
