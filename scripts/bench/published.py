"""Published benchmark rows, as questions that the speed model can be asked.

A table is a CSV with the columns device, backend, n_devices, model, quant, test, tok_s, ngl, build,
source, extra, grade. Every row becomes a `Case` (model, placement, machine, measured tokens a
second) or a `LeftOut` with the reason. Devices come from profiles/devices.toml, models from
profiles/models; what neither has is in published_names.py.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from published_names import (
    BUILDS,
    MIXES,
    UNIFORM,
    Row,
    device_of,
    hosts_behind_slow_links,
    model_of,
)

from edgellm.errors import EdgellmError
from edgellm.models.gguf.header import TensorInfo
from edgellm.models.known import catalog
from edgellm.models.known.shapes import shape_header
from edgellm.models.quants import BY_ID, BY_NAME, tensor_bytes
from edgellm.models.spec import ModelSpec, model_spec
from edgellm.probe.hardware import Hardware
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.plan import Placement, Range, Share
from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed import decode_tok_s, ttft_s
from edgellm.selector.speed.speed_profile import SpeedProfile

MEASURED = Path(__file__).with_name("measured_speeds.csv")  # our own figures, beside those
_ROOFLINE_SLACK = 1.03  # a nominal bandwidth and a made-up header are no finer than that


@dataclass(frozen=True, slots=True)
class LeftOut:
    row: Row
    why: str


@dataclass(frozen=True, slots=True)
class Test:
    """ "tg128@d4096", "pp512", "tg32@d512 B=8 (aggregate)"."""

    is_prompt: bool
    n_tokens: int  # of the prompt, or written
    depth: int  # in the cache before
    n_streams: int = 1

    @property
    def mean_depth(self) -> int:
        return self.depth + self.n_tokens // 2


@dataclass(frozen=True, slots=True)
class Case:
    row: Row
    test: Test
    spec: ModelSpec
    shape: ContextShape
    placement: Placement
    hardware: Hardware
    device: str  # as we call it: one name for all spellings
    build: int

    @property
    def is_moe(self) -> bool:
        return bool(self.spec.n_expert)

    def predict(self, profile: SpeedProfile) -> Range:
        """Tokens a second, by a profile that is already of the row's build."""
        setup = Setup(self.spec, self.shape, self.placement, self.hardware, profile)
        if not self.test.is_prompt:
            return decode_tok_s(setup, self.test.mean_depth, self.test.n_streams)
        time = ttft_s(setup, self.test.n_tokens, self.test.depth)
        n = self.test.n_tokens
        return Range(n / time.p90, n / time.p50, n / time.p10)


def read(*paths: Path) -> list[Row]:
    return [_row(raw) for path in paths for raw in csv.DictReader(path.read_text().splitlines())]


def cases(rows: Iterable[Row]) -> tuple[list[Case], list[LeftOut]]:
    """Rows that are the same measurement, reported twice, count once."""
    kept: dict[tuple[object, ...], Case] = {}
    left: list[LeftOut] = []
    for row in rows:
        made = case_of(row)
        if isinstance(made, LeftOut):
            left.append(made)
            continue
        key = (made.hardware, row.backend, row.n_devices, row.model, row.quant, row.test, row.tok_s)
        if key in kept:
            left.append(LeftOut(row, "the same figure a second time"))
        else:
            kept[key] = made
    return list(kept.values()), left


def case_of(row: Row) -> Case | LeftOut:
    if why := _unfit(row):
        return LeftOut(row, why)
    test = test_of(row.test)
    if test is None:
        return LeftOut(row, f"a test that isn't understood: {row.test}")
    try:
        spec = spec_of(row.model, row.quant)
    except EdgellmError as error:
        return LeftOut(row, str(error))
    if spec is None:
        return LeftOut(row, f"no shape of {row.model} is known")
    machine = device_of(row)
    if machine is None:
        return LeftOut(row, f"nothing is known of the device {row.device}")
    name, hardware = machine
    build = build_of(row)
    placement = whole(spec, hardware)
    if not _fits(placement, hardware):
        return LeftOut(row, "larger than the device's memory, and nobody says what went where")
    shape = _shape(row, test, build)
    case = Case(row, test, spec, shape, placement, hardware, name, build)
    if not test.is_prompt and row.tok_s > _ROOFLINE_SLACK * _roofline_tok_s(case):
        return LeftOut(row, "faster than memory can be read: mislabelled")
    return case


# ---- the parts of a row


def test_of(text: str) -> Test | None:
    kind = re.match(r"(pp|tg)(\d*)(?![a-z])", text)
    if kind is None:
        return None

    def number(pattern: str) -> int:
        found = re.search(pattern, text)
        return int(found[1]) if found else 0

    is_prompt = kind[1] == "pp"
    depth = number(r"@d(\d+)") or number(r"@p(\d+)") or 1024 * number(r"@full ctx (\d+)k")
    n_tokens = int(kind[2] or 0) or 1024 * number(r"@ctx (\d+)k") or (512 if is_prompt else 128)
    return Test(is_prompt, n_tokens, depth, number(r"B=(\d+)") or 1)


def build_of(row: Row) -> int:
    """llama.cpp's running number; from a date where only that is told."""
    if found := re.search(r"\bb(\d{4,5})\b", row.build):
        return int(found[1])
    return next(
        (
            build
            for pattern, build in BUILDS
            if re.search(pattern, f"{row.build} {row.source} {row.device}")
        ),
        10**6,
    )


def spec_of(model: str, quant: str) -> ModelSpec | None:
    """Raises EdgellmError for a mix whose rules nobody has published."""
    name = model_of(model)
    mix = re.sub(r" \(ollama default\)$", "", quant) or "Q4_K_M"
    return _spec(name, MIXES.get(mix, mix)) if name else None


@cache
def _spec(name: str, mix: str) -> ModelSpec:
    entry = catalog.find(name)
    if mix not in UNIFORM:
        return catalog.spec(entry, mix)
    header = shape_header(entry.shape, "Q4_0")
    tensors = tuple(_as_type(tensor, UNIFORM[mix]) for tensor in header.tensors)
    return model_spec([replace(header, tensors=tensors)], name, mix)


def _as_type(tensor: TensorInfo, type_name: str) -> TensorInfo:
    """A label that stands for one type of all matrices, the head and norms aside."""
    if BY_ID[tensor.type_id].name != "q4_0" or tensor.shape[0] % BY_NAME[type_name].block:
        return tensor
    type_id = BY_NAME[type_name].id
    return replace(tensor, type_id=type_id, n_bytes=tensor_bytes(type_id, tensor.shape))


def whole(spec: ModelSpec, hardware: Hardware) -> Placement:
    """All on the accelerators, layers and bytes in equal parts; on the CPU when there is none."""
    devices = hardware.accelerators
    n_all = spec.n_layers + 1
    if not devices:
        host = Share("cpu", "host", tuple(range(n_all)), spec.weight_bytes, 0, 0)
        return Placement((host,), 0)
    shares = []
    for i, device in enumerate(devices):
        layers = range(i * n_all // len(devices), (i + 1) * n_all // len(devices))
        n_bytes = sum(spec.layers[il].weight_bytes for il in layers if il < spec.n_layers)
        n_bytes += spec.output_bytes if spec.n_layers in layers else 0
        shares.append(Share(device.id, device.pool_id, tuple(layers), n_bytes, 0, 0))
    host = Share("cpu", hardware.host.id, (), spec.input_bytes, 0, 0)
    return Placement((*shares, host), n_all)


def _row(raw: dict[str, str]) -> Row:
    return Row(
        device=raw["device"].replace("\u2011", "-"),
        backend=raw["backend"],
        n_devices=int(raw["n_devices"] or 1),
        model=raw["model"],
        quant=raw["quant"],
        test=raw["test"],
        tok_s=float(raw["tok_s"] or 0),
        ngl=raw["ngl"],
        build=raw["build"],
        source=raw["source"],
        extra=raw["extra"],
        grade=raw["grade"],
    )


def _shape(row: Row, test: Test, build: int) -> ContextShape:
    """llama-bench turned flash attention on by itself from late 2025; before, only when asked."""
    asked = re.search(r"(?:n_ubatch=|\bub=|-ub )(\d+)", row.extra)
    # All of that document's llama-bench rows say so; its llama-batched-bench rows say nothing.
    usual = 2048 if "dgx-spark.md" in row.source else 512
    n_ubatch = int(asked[1]) if asked else usual
    says = f"{row.extra} {row.backend}".lower()
    flash = "fa=1" in says or "fa=true" in says or " fa" in says or build >= 6500
    if "no fa" in says:
        flash = False
    kv = "q8_0" if "kv=q8_0" in row.extra else "f16"
    n_ctx = test.depth + test.n_tokens + 512
    return ContextShape(
        n_ctx * test.n_streams, test.n_streams, n_ubatch, test.n_streams, kv, kv,
        flash_attention=flash,
    )  # fmt: skip


def _unfit(row: Row) -> str | None:
    says = f"{row.backend} {row.extra} {row.build} {row.model}".lower()
    partial = f"{row.ngl} {row.backend}"
    reasons = (
        (row.grade in ("X", "S"), "beyond the roofline, or speculative decoding (grades X and S)"),
        (row.tok_s <= 0, "no figure"),
        ("spec=true" in says or "mtp=true" in says or "--spec" in says, "speculative decoding"),
        ("mlx" in says, "MLX, not llama.cpp"),
        ("fork" in says or "ik_llama" in row.source, "a fork of llama.cpp"),
        ("luster" in row.device, "a cluster over a network"),
        ("spills" in row.device, "spilled into the host's memory by the driver"),
        (
            "n_cpu_moe" in partial or "cmoe" in partial or "partial" in partial,
            "shared with the CPU: see decisions.py",
        ),
        (hosts_behind_slow_links(row.device), "a card behind a Raspberry Pi's PCIe 2.0 x1"),
    )
    return next((why for is_so, why in reasons if is_so), None)


def _fits(placement: Placement, hardware: Hardware) -> bool:
    return all(
        share.weight_bytes <= hardware.pool(share.pool_id).total_bytes
        for share in placement.shares[:-1]
    )


def _roofline_tok_s(case: Case) -> float:
    """Weights read once at the full bandwidth, one device after the other; the cache aside."""
    from edgellm.selector.speed.work import active_bytes

    spec, n = case.spec, case.test.n_streams
    n_bytes = sum(active_bytes(spec, layer, n) for layer in spec.layers) + spec.output_bytes
    pool = case.hardware.pool(case.placement.shares[0].pool_id)
    return n * (pool.bandwidth_bytes_s or float("inf")) / n_bytes


def by_device(rows: Iterable[Case]) -> Iterator[tuple[str, list[Case]]]:
    names = sorted({case.device for case in rows})
    for name in names:
        yield name, [case for case in rows if case.device == name]


__all__ = ["Case", "LeftOut", "Row", "by_device", "case_of", "cases", "read", "replace"]
