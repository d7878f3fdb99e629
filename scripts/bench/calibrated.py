"""How near predictions are on this machine, before and after it has measured itself once.

    python scripts/bench/calibrated.py A.gguf B.gguf C.gguf [--threads 1]

Each model is planned, loaded as planned and timed: prompts and single tokens through llama.cpp,
the models in turn, prompt by prompt and token by token, so that a busy moment hits all of them.
Only the first one's figures go into the calibrations (in a folder of the bench's own), then all are
planned again. With --threads 1 the clock is the thread's own CPU time, which on a busy machine
tells about what an idle one would: nobody waits for a second thread. Medians of --repeats.
"""

import argparse
import ctypes
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import llama_cpp

from edgellm.models.local import model_name, read_spec
from edgellm.models.spec import ModelSpec
from edgellm.probe.detect import detect
from edgellm.probe.hardware import Hardware
from edgellm.profiles import load_profiles
from edgellm.runner.calibration import Calibrations, Measured
from edgellm.runner.llama.load import load
from edgellm.selector.choose import choose
from edgellm.selector.memory.shape import context_shape
from edgellm.selector.plan import Candidate, Goal, Plan
from edgellm.selector.profiles import Profiles
from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed import decode_tok_s, ttft_s

_N_PROMPT, _N_TOKENS = 256, 12


@dataclass(frozen=True, slots=True)
class Timed:
    decode_tok_s: float
    depth: int
    prefill_tok_s: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", type=Path, metavar="GGUF")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    hardware = detect()
    if args.threads:
        cpu = replace(hardware.cpu, n_physical_cores=args.threads)
        hardware = replace(hardware, cpu=cpu)
    clock = time.thread_time if args.threads == 1 else time.perf_counter
    profiles = load_profiles()
    specs = {path: read_spec(path) for path in args.models}
    plans = {path: _plan(path, specs[path], hardware, profiles) for path in args.models}
    loaded = {path: _Loaded(path, plans[path], clock) for path in args.models}
    for _ in range(args.repeats + 1):
        for model in loaded.values():
            model.read_prompt()
        for _ in range(_N_TOKENS):
            for model in loaded.values():
                model.write_token()
    timed = {path: model.timed() for path, model in loaded.items()}
    with tempfile.TemporaryDirectory() as folder:
        calibrations = Calibrations(Path(folder))
        first = args.models[0]
        figures = timed[first]
        calibrations.observe(
            plans[first], specs[first], hardware, profiles.speed,
            Measured(
                decode_tok_s=figures.decode_tok_s, depth=figures.depth,
                prefill_tok_s=figures.prefill_tok_s, n_prompt=_N_PROMPT,
            ),
        )  # fmt: skip
        corrected = replace(profiles, speed=calibrations.applied(profiles.speed))
    print(f"{'':32s}{'measured':>10s}{'before':>10s}{'':8s}{'after':>10s}")
    for path in args.models:
        again = _plan(path, specs[path], hardware, corrected)
        _print(path, specs[path], hardware, plans[path], again, timed[path], profiles, corrected)


def _plan(path: Path, spec: ModelSpec, hardware: Hardware, profiles: Profiles) -> Plan:
    candidate = Candidate(model_name(path), str(path), spec.quant, spec, spec.file_bytes)
    goal = Goal(n_ctx_seq=1024, n_parallel=1, kv_type_k="f16", kv_type_v="f16")
    return choose(hardware, [candidate], goal, profiles)


def _print(
    path: Path,
    spec: ModelSpec,
    hardware: Hardware,
    plan: Plan,
    again: Plan,
    timed: Timed,
    before: Profiles,
    after: Profiles,
) -> None:
    def setup(plan: Plan, profiles: Profiles) -> Setup:
        return Setup(spec, context_shape(plan), plan.placement, hardware, profiles.speed)

    def decode(plan: Plan, profiles: Profiles) -> float:
        return decode_tok_s(setup(plan, profiles), timed.depth).p50

    def prefill(plan: Plan, profiles: Profiles) -> float:
        return _N_PROMPT / ttft_s(setup(plan, profiles), _N_PROMPT).p50

    for what, ask, measured in (
        ("decode", decode, timed.decode_tok_s),
        ("prefill", prefill, timed.prefill_tok_s),
    ):
        first, second = ask(plan, before), ask(again, after)
        print(
            f"{path.stem[:24]:24s}{what:8s}{measured:10.1f}{first:10.1f}"
            f"{first / measured - 1:+8.1%}{second:10.1f}{second / measured - 1:+8.1%}"
        )


class _Loaded:
    def __init__(self, path: Path, plan: Plan, clock: Callable[[], float]) -> None:
        self._loaded = load(str(path).encode(), plan, lambda _: None)
        self._clock = clock
        vocab = llama_cpp.llama_model_get_vocab(self._loaded.model)
        self._n_vocab = llama_cpp.llama_vocab_n_tokens(vocab)
        self._prompts: list[float] = []
        self._tokens: list[float] = []

    def read_prompt(self) -> None:
        memory = llama_cpp.llama_get_memory(self._loaded.context)
        llama_cpp.llama_memory_clear(memory, ctypes.c_bool(True))
        self._prompts.append(self._compute(_N_PROMPT))

    def write_token(self) -> None:
        self._tokens.append(self._compute(1))

    def timed(self) -> Timed:
        """The first run pages the weights in."""
        prompts, tokens = self._prompts[1:], self._tokens[_N_TOKENS:]
        depth = _N_PROMPT + _N_TOKENS // 2
        return Timed(1 / median(tokens), depth, _N_PROMPT / median(prompts))

    def _compute(self, n: int) -> float:
        ids = ((7 * i + 300) % self._n_vocab for i in range(n))
        tokens = (llama_cpp.llama_token * n)(*ids)
        context = self._loaded.context
        begun = self._clock()
        code = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, n))
        llama_cpp.llama_synchronize(context)
        if code:
            raise SystemExit(f"llama_decode: {code}")
        return self._clock() - begun


if __name__ == "__main__":
    main()
