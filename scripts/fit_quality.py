"""Fit what a tensor's type costs in quality, from published tables of KL divergence.

    python scripts/fit_quality.py quant_quality.csv

The table needs the columns model, quant, imatrix, ppl, delta_ppl, kld_mean, quantizer and kind.
Which types a label stands for is asked of llama.cpp itself: a dry run of its quantizer over the
header that the model would have. Fitted is Llama-3-8B alone, the one model with every label:

    KLD = Σ over classes  weight × Σ over types  part of the class × KLD(type) [× plain_ratio]

as least squares of log KLD, with weak priors. Then other models are predicted, which the fit has
not seen; they differ by a factor of their own, so rank and scatter around that factor count.
The rows for profiles/quality.toml go to stdout, the report to stderr.
"""

import argparse
import csv
import ctypes
import math
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
import numpy as np

from edgellm.models.anatomy.tensor_types import type_shares
from edgellm.models.gguf.header import TensorInfo
from edgellm.models.gguf.skeleton import write_skeletons
from edgellm.models.known.catalog import find
from edgellm.models.known.shapes import shape_header
from edgellm.models.quants import BY_NAME, FILE_TYPES

CLASSES = ("attention", "ffn_down", "ffn", "embedding", "output")
PRIOR_WEIGHTS = (0.3, 0.3, 0.3, 0.05, 0.05)
WITH_AND_WITHOUT = ("q4_k", "q3_k", "q2_k")  # measured with an importance matrix and without
FITTED = "Llama-3-8B"
# The table's name -> who has that shape in the catalog. Qwen3.5-35B-A3B isn't there: its elder is.
SHAPES = {
    FITTED: "llama3.1:8b", "Llama-2-7B": "llama2:7b", "Llama-2-70B": "llama2:70b",
    "Llama-3-70B": "llama3.1:70b", "Mistral-7B": "mistral:7b",
    "Qwen3.5-35B-A3B": "qwen3:30b-a3b",
}  # fmt: skip
UNQUANTIZED_PPL = {"Llama-3-70B": 2.8308, "Llama-2-70B": 3.4313}  # the table's own F16 rows
CUSTOM = ("AesSedai", "Unsloth", "Ubergarm", "noctrex")  # their labels aren't llama.cpp's mixes
_ROW = re.compile(r"\] (\S+)\s+- \[([ \d,]+)\], type =\s*(\w+), size =[^(\n]*(?:\((\w+)\))?")

Mix = dict[str, dict[str, float]]  # class -> type -> part of the class's weights


@dataclass(frozen=True)
class Measured:
    model: str
    label: str
    quantizer: str
    has_imatrix: bool
    kld: float  # or log of the perplexity's ratio
    mix: Mix


class Quantizer:
    """llama.cpp's own choice of types. It logs them, so the log is what we read."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lines, self._mixes = folder, list[str](), dict[object, Mix]()
        self._log = llama_cpp.llama_log_callback(
            lambda level, text, data: self._lines.append(text.decode())
        )
        llama_cpp.llama_log_set(self._log, None)

    def mix(self, name: str, label: str, has_imatrix: bool) -> Mix:
        key = (name, label, has_imatrix)
        if key not in self._mixes:
            self._mixes[key] = self._ask(name, label, has_imatrix)
        return self._mixes[key]

    def _ask(self, name: str, label: str, has_imatrix: bool) -> Mix:
        shape = find(name).shape
        header = self._folder / name.replace(":", "-")
        if not header.exists():
            header.mkdir()
            write_skeletons([shape_header(shape, "F16")], shape.n_vocab, header)
        params = llama_cpp.llama_model_quantize_default_params()
        params.dry_run, params.nthread = True, 1
        params.ftype = next(i for i, known in FILE_TYPES.items() if known == label)
        nothing = (llama_cpp.llama_model_imatrix_data * 1)()
        if has_imatrix:
            params.imatrix = nothing
        self._lines.clear()
        source, target = str(header / "model.gguf"), str(header / "out.gguf")
        code = llama_cpp.llama_model_quantize(
            source.encode(), target.encode(), ctypes.byref(params)
        )
        if code:
            raise SystemExit(f"{name} {label}: {''.join(self._lines)[-300:]}")
        return _mix(_ROW.findall("".join(self._lines)))


def _mix(rows: Iterable[tuple[str, str, str, str]]) -> Mix:
    tensors = [
        TensorInfo(name, _shape(dims), BY_NAME[(after or before).lower()].id, 0, 0)
        for name, dims, before, after in rows
    ]
    mix: Mix = {}
    for share in type_shares(tensors):
        if share.tensor_class in CLASSES:
            mix.setdefault(share.tensor_class, {})[share.type] = share.n_weights
    return {
        kind: {name: n / sum(types.values()) for name, n in types.items()}
        for kind, types in mix.items()
    }


def _shape(text: str) -> tuple[int, ...]:
    dims = [int(dim) for dim in text.split(",")]
    while len(dims) > 1 and dims[-1] == 1:
        dims.pop()
    return tuple(dims)


def read(path: Path, quantizer: Quantizer) -> list[Measured]:
    found = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            label, kld = row["quant"].upper(), _kld(row)
            known = row["model"] in SHAPES and label in FILE_TYPES.values()
            if not known or kld is None or row["kind"] != "weights" or row["quantizer"] in CUSTOM:
                continue
            if row["model"] == FITTED and row["imatrix"] not in ("None", "WT 10m"):
                continue  # the same matrix from fewer tokens
            has_imatrix = row["imatrix"] not in ("", "None")
            mix = quantizer.mix(SHAPES[row["model"]], label, has_imatrix)
            found.append(Measured(row["model"], label, row["quantizer"], has_imatrix, kld, mix))
    return found


def _kld(row: Mapping[str, str]) -> float | None:
    if row["kld_mean"]:
        return float(row["kld_mean"].split()[-1])  # "median 0.0588"
    base = UNQUANTIZED_PPL.get(row["model"])
    if base and row["ppl"] and float(row["ppl"]) > base:
        return math.log(float(row["ppl"]) / base)
    return None


class Fit:
    """log KLD of each type, log weight of each class, log plain_ratio: one vector."""

    def __init__(self, rows: Sequence[Measured]) -> None:
        self.types = sorted({name for row in rows for types in row.mix.values() for name in types})
        prior = [self._alone(rows, name) for name in self.types]
        prior += [*np.log(PRIOR_WEIGHTS), *([0.2] * len(WITH_AND_WITHOUT))]
        spread = [0.6] * len(self.types) + [0.7] * len(CLASSES) + [0.3] * len(WITH_AND_WITHOUT)
        self._prior, self._spread = np.array(prior), np.array(spread)
        self.vector = self._solve(rows)

    @property
    def klds(self) -> dict[str, float]:
        return dict(zip(self.types, map(float, np.exp(self.vector)), strict=False))

    @property
    def weights(self) -> dict[str, float]:
        start = len(self.types)
        each = np.exp(self.vector[start : start + len(CLASSES)])
        return dict(zip(CLASSES, map(float, each / each.sum()), strict=True))

    @property
    def plain_ratios(self) -> dict[str, float]:
        last = np.exp(self.vector[-len(WITH_AND_WITHOUT) :])
        return dict(zip(WITH_AND_WITHOUT, map(float, last), strict=True))

    def predict(self, row: Measured) -> float:
        return math.exp(self._log_kld(self.vector, row))

    def _log_kld(self, vector: np.ndarray, row: Measured) -> float:
        n = len(self.types)
        kld = dict(zip(self.types, np.exp(vector[:n]), strict=True))
        weight = dict(zip(CLASSES, np.exp(vector[n : n + len(CLASSES)]), strict=True))
        if not row.has_imatrix:
            for name, ratio in zip(
                WITH_AND_WITHOUT, np.exp(vector[n + len(CLASSES) :]), strict=True
            ):
                kld[name] *= ratio
        loss = sum(
            weight[kind] * sum(part * kld[name] for name, part in types.items())
            for kind, types in row.mix.items()
        )
        return float(np.log(loss / sum(weight[kind] for kind in row.mix)))

    def _alone(self, rows: Sequence[Measured], name: str) -> float:
        """The measured KLD of the mix that has most of this type."""

        def part(row: Measured) -> float:
            return sum(types.get(name, 0.0) for types in row.mix.values())

        return math.log(max(rows, key=part).kld)

    def _residuals(self, vector: np.ndarray, rows: Sequence[Measured]) -> np.ndarray:
        misses = [(self._log_kld(vector, row) - math.log(row.kld)) / 0.05 for row in rows]
        return np.concatenate([misses, (vector - self._prior) / self._spread])

    def _solve(self, rows: Sequence[Measured], n_steps: int = 60) -> np.ndarray:
        """Levenberg-Marquardt with a numerical Jacobian; two dozen unknowns, well behaved."""
        vector, damping, step_size = self._prior.copy(), 1e-2, 1e-5
        residuals = self._residuals(vector, rows)
        for _ in range(n_steps):
            columns = [
                (self._residuals(vector + unit, rows) - residuals) / step_size
                for unit in np.eye(len(vector)) * step_size
            ]
            jacobian = np.array(columns).T
            normal = jacobian.T @ jacobian + damping * np.eye(len(vector))
            step = np.linalg.solve(normal, -jacobian.T @ residuals)
            tried = self._residuals(vector + step, rows)
            if tried @ tried >= residuals @ residuals:
                damping *= 4
                continue
            vector, residuals, damping = vector + step, tried, damping / 3
            if np.abs(step).max() < step_size:
                break
        return vector


def report(rows: Sequence[Measured], fit: Fit) -> None:
    """Of the fit and of what it hasn't seen: rank correlation, factor, scatter around it."""
    say = lambda text: print(text, file=sys.stderr)  # noqa: E731
    for model, quantizer in sorted({(row.model, row.quantizer) for row in rows}):
        of_one = [row for row in rows if (row.model, row.quantizer) == (model, quantizer)]
        if len(of_one) < 3:
            continue
        predicted = np.log([fit.predict(row) for row in of_one])
        measured = np.log([row.kld for row in of_one])
        misses = predicted - measured
        factor = float(np.median(misses))
        scatter = np.abs(misses - factor)
        say(
            f"{model} by {quantizer}: {len(of_one)} rows, rank correlation "
            f"{_rank_correlation(predicted, measured):.3f}, factor {math.exp(factor):.2f}, "
            f"scatter median {np.median(scatter):.0%} worst {scatter.max():.0%}"
        )
    own = [row for row in rows if row.model == FITTED]
    left_out = []
    for i, row in enumerate(own):
        without = Fit([*own[:i], *own[i + 1 :]])
        if all(name in without.types for types in row.mix.values() for name in types):
            left_out.append(abs(math.log(without.predict(row) / row.kld)))
    say(
        f"left out of the fit, one after the other: {len(left_out)} rows, "
        f"median {np.median(left_out):.0%}, worst {max(left_out):.0%}"
    )


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])


def toml(fit: Fit) -> str:
    blocks = [
        f'[[tensor_class]]\nname = "{kind}"\nweight = {weight:.3f}\n'
        for kind, weight in fit.weights.items()
    ]
    for name in sorted(fit.types, key=lambda name: fit.klds[name]):
        block = f'[[type]]\nname = "{name}"\nkld = {fit.klds[name]:.5f}\n'
        if name in fit.plain_ratios:
            block += f"plain_ratio = {fit.plain_ratios[name]:.2f}\n"
        blocks.append(block)
    return "\n".join(blocks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("table", type=Path, help="quant_quality.csv")
    table = parser.parse_args().table
    with tempfile.TemporaryDirectory() as folder:
        rows = read(table, Quantizer(Path(folder)))
    fit = Fit([row for row in rows if row.model == FITTED])
    report(rows, fit)
    print(toml(fit), end="")


if __name__ == "__main__":
    main()
