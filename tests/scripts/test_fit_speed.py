import csv
from dataclasses import replace

import numpy as np
import pytest

from edgellm.profiles import load_profiles
from scripts.fit_speed import (
    PROFILE,
    Model,
    _written,
    cases,
    fit,
    leave_one_out,
    read,
    spreads,
    with_spreads,
)
from scripts.fit_spreads import _reach

COLUMNS = (
    "device", "backend", "n_devices", "model", "quant", "test", "tok_s", "ngl", "build", "source",
    "extra", "grade",
)  # fmt: skip
SPEED = load_profiles().speed
DEVICES = ("RTX 4090", "RTX 4080 SUPER", "RTX 4070", "RTX 4060 Ti 16GB")
MODELS = (("llama 7B v2", "Q4_0"), ("llama 3.2 3B", "Q8_0"), ("qwen3 14B", "Q4_K_M"))
TESTS = ("tg128", "tg128@d8192", "pp512")


def row(**changes) -> dict[str, object]:
    usual = {
        "device": "RTX 4090", "backend": "CUDA", "n_devices": 1, "model": "llama 7B v2",
        "quant": "Q4_0", "test": "tg128", "tok_s": 100.0, "ngl": "99", "build": "b9000",
        "source": "https://github.com/a/b/pull/1", "extra": "", "grade": "A",
    }  # fmt: skip
    return usual | changes


def table(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return cases(read(path))


def truth(**changes):
    """A world in which Ada cards have other factors."""
    families = (
        replace(family, **changes) if family.name == "cuda-ada" else family
        for family in SPEED.families
    )
    return replace(SPEED, families=tuple(families))


@pytest.fixture
def world(tmp_path):
    """Every device, model and test, measured in that world without noise."""
    wanted = [
        row(device=device, model=model, quant=quant, test=test, tok_s=1.0)
        for device in DEVICES
        for model, quant in MODELS
        for test in TESTS
    ]
    asked, left = table(tmp_path / "asked.csv", wanted)
    assert not left
    told = truth(layer_s=90e-6, efficiency=0.7, flops_ratio=0.6)
    rows = [
        row(
            device=case.row.device, model=case.row.model, quant=case.row.quant, test=case.row.test,
            tok_s=case.predict(told).p50,
        )
        for case in asked
    ]  # fmt: skip
    made, left = table(tmp_path / "told.csv", rows)
    assert not left
    return made, told


def errors(rows, profile) -> np.ndarray:
    built = {case.build: profile.of_build(case.build) for case in rows}
    return np.array([case.predict(built[case.build]).p50 / case.row.tok_s - 1 for case in rows])


def test_a_world_that_follows_the_model_is_found_again(world):
    rows, _ = world
    model = Model(SPEED, rows)
    found = model.profile(model.values(fit(model, rows)))
    assert np.abs(errors(rows, SPEED)).max() > 0.15
    assert np.median(np.abs(errors(rows, found))) < 0.02


def test_a_device_that_is_left_out_is_predicted_by_its_kin(world):
    rows, _ = world
    model = Model(SPEED, rows)
    unknowns = fit(model, rows)
    for name, profile in leave_one_out(model, rows, unknowns):
        own = [case for case in rows if case.device == name]
        assert np.median(np.abs(errors(own, profile))) < 0.06


def test_three_wrong_rows_teach_little(world, tmp_path):
    rows, _ = world
    wrong, _ = table(
        tmp_path / "wrong.csv",
        [row(device="RTX 4070 Ti", test="tg128", tok_s=10.0 + i) for i in range(3)],
    )
    model = Model(SPEED, [*rows, *wrong])
    found = model.profile(model.values(fit(model, [*rows, *wrong])))
    assert np.median(np.abs(errors(rows, found))) < 0.05


def test_families_without_rows_stay_as_they_are(world):
    rows, _ = world
    model = Model(SPEED, rows)
    found = model.profile(model.values(fit(model, rows)))
    assert {f.name for f in found.families if f not in SPEED.families} == {"cuda-ada"}


def test_spreads_hold_four_of_five(world):
    rows, _ = world
    model = Model(SPEED, rows)
    rng = np.random.default_rng(1)
    off = [(case, float(rng.normal(0, 0.2))) for case in rows for _ in range(50)]
    found = with_spreads(SPEED, spreads(model, off))
    family = next(f for f in found.families if f.name == "cuda-ada")
    inside = [
        np.log(family.spread.low) <= value <= np.log(family.spread.high)
        for case, value in off
        if not case.test.is_prompt
    ]
    assert 0.77 < np.mean(inside) < 0.83


def test_where_devices_differ_the_spread_allows_for_one_that_is_not_among_them(world):
    """Each of four is off by an amount of its own: quantiles over them know of no fifth."""
    rows, _ = world
    model, rng = Model(SPEED, rows), np.random.default_rng(1)
    inside, held = [], []
    for _ in range(40):
        offs = dict(zip(DEVICES, rng.normal(0, 0.3, len(DEVICES)), strict=True))
        known = [(case, float(offs[case.device])) for case in rows]
        unseen = float(rng.normal(0, 0.3))
        found = with_spreads(SPEED, spreads(model, known))
        spread = next(f for f in found.families if f.name == "cuda-ada").spread
        inside.append(np.log(spread.low) <= unseen <= np.log(spread.high))
        held.append(min(offs.values()) <= unseen <= max(offs.values()))
    assert np.mean(inside) > np.mean(held)
    assert np.mean(inside) > 0.7


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"grade": "X"}, "roofline"),
        ({"grade": "S"}, "speculative"),
        ({"tok_s": 5000.0}, "mislabelled"),
        ({"model": "nobody knows it"}, "no shape"),
        ({"device": "Voodoo 2"}, "nothing is known of the device"),
        ({"extra": "spec=True"}, "speculative"),
        ({"backend": "CUDA partial"}, "shared with the CPU"),
        ({"device": "Pi CM5 - 16GB (Nvidia RTX 4090)", "backend": "Vulkan"}, "Raspberry Pi"),
        ({"model": "llama 3 70B", "quant": "F16"}, "larger than the device's memory"),
        ({"quant": "IQ9_Z"}, "can't be computed"),
        ({"test": "ppl"}, "isn't understood"),
    ],
)
def test_what_is_left_out_says_why(tmp_path, changes, why):
    made, (left,) = table(tmp_path / "t.csv", [row(**changes)])
    assert not made
    assert why in left.why


def test_a_figure_counts_once(tmp_path):
    made, left = table(tmp_path / "t.csv", [row(), row(source="https://example.org/copy")])
    assert len(made) == 1
    assert [x.why for x in left] == ["the same figure a second time"]


@pytest.mark.parametrize(
    ("device", "backend", "name"),
    [
        ("3090 24GB", "CUDA", "RTX 3090"),
        ("M1 Max 32\u2011Core GPU 64GB", "Metal", "M1 Max"),
        ("Intel 265K Custom PC (Nvidia RTX 4070 Ti)", "ollama GPU", "RTX 4070 Ti"),
        ("System76 Thelio Astra (Nvidia A4000)", "ollama GPU", "RTX A4000"),
        ("RTX PRO 6000 Max-Q + Epyc 9374F", "CUDA", "RTX PRO 6000 Blackwell Max-Q"),
        ("NVIDIA DGX Spark (GB10)", "CUDA", "GB10"),
        ("A100 SXM 80GB", "CUDA", "A100 SXM 80GB"),
    ],
)
def test_a_device_has_one_name_in_all_spellings(tmp_path, device, backend, name):
    (made,), _ = table(tmp_path / "t.csv", [row(device=device, backend=backend, tok_s=5.0)])
    assert made.device == name


def test_a_mac_with_fewer_cores_multiplies_less(tmp_path):
    macs = [f"Apple M3 Max ({n}-core GPU)" for n in (30, 40)]
    (less, full), _ = table(
        tmp_path / "t.csv", [row(device=mac, backend="Metal", tok_s=5.0) for mac in macs]
    )
    peaks = [case.hardware.accelerators[0].fp16_flops_s for case in (less, full)]
    assert peaks[0] == pytest.approx(0.75 * peaks[1])


def test_the_file_is_written_with_the_new_numbers_and_nothing_else(world):
    rows, _ = world
    model = Model(SPEED, rows)
    changed = truth(layer_s=123e-6, efficiency=0.5)
    text = PROFILE.read_text()
    written = _written(text, model, changed, rows)
    before, after = text.splitlines(), written.splitlines()
    assert len(before) == len(after)
    lines = [new for old, new in zip(before, after, strict=True) if old != new]
    assert "layer_us = 123" in lines
    assert "efficiency = 0.5" in lines
    assert any(line.startswith("source = ") and "12 rows" not in line for line in lines)
    assert not any("cuda-hbm" in line for line in lines)


def test_quantiles_of_few_devices_reach_further():
    """Student's t at 90 % for 1, 4 and 39 degrees of freedom: 3.078, 1.533, 1.304."""
    for n, t in ((2, 3.078), (5, 1.533), (40, 1.304)):
        assert _reach(n) == pytest.approx(t / 1.2816 * (1 + 1 / n) ** 0.5, rel=0.05)
