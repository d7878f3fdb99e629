"""How fast: tokens a second as a range, p10 to p90.

    decode    all devices' times for one step, one after the other, and the hops between them
    prefill   the same for each micro-batch of a prompt; whole accelerators in a row overlap

One stream passes through a layer split one device after the other, so times add and bandwidths do
not. Devices that share each layer (row, tensor) work side by side and wait for each other twice a
layer. Experts kept by the host cost a way there and back for each of their blocks. What takes how
long on one device is in rates.py; the numbers are fits over published benchmarks, and where this
machine has measured itself, its own (profiles/speed.toml, Calibration).
"""

from collections.abc import Callable, Sequence
from math import ceil

from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.plan import Range
from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed_profile import SpeedProfile
from edgellm.selector.speed.stages import Stage, stages_of
from edgellm.selector.speed.work import Step
from edgellm.values import frozen

_DEPTH = 512  # tokens already in the cache when we say how fast one decodes
_PROMPT = 2048  # tokens of the prompt that we mean by "prefill", n_batch of llama.cpp


def decode_tok_s(setup: Setup, depth: int = _DEPTH, n_streams: int = 1) -> Range:
    """Tokens of all streams together, with `depth` tokens in each one's cache."""
    stages = stages_of(setup, decode_step(depth, n_streams))
    return _range(lambda pace: n_streams / (setup.profile.step_s + sum(map(pace, stages))))


def prefill_tok_s(setup: Setup, depth: int = 0) -> Range:
    """One long prompt, after `depth` tokens that are in the cache."""
    n_prompt = max(_PROMPT, setup.shape.n_ubatch)
    time = _Prompt.of(setup, n_prompt, depth)
    return _range(lambda pace: n_prompt / time.seconds(pace))


def ttft_s(setup: Setup, n_prompt: int, depth: int = 0) -> Range:
    """Seconds until the first token of an answer, for a prompt that has the machine to itself."""
    time = _Prompt.of(setup, n_prompt, depth)
    slow_first = _range(time.seconds)
    return Range(slow_first.p90, slow_first.p50, slow_first.p10)


def decode_step(depth: int = _DEPTH, n_streams: int = 1) -> Step:
    return Step(n_streams, n_streams, depth)


def prompt_step(shape: ContextShape, n_prompt: int, depth: int = 0) -> Step:
    """One micro-batch of a prompt: all of one size, and as deep as they are on average."""
    n_tokens = ceil(n_prompt / _n_chunks(shape, n_prompt))
    return Step(n_tokens, 1, depth + (n_prompt - n_tokens) // 2)


def _n_chunks(shape: ContextShape, n_prompt: int) -> int:
    return ceil(n_prompt / max(1, shape.n_ubatch))


Pace = Callable[[Stage], float]


@frozen
class _Prompt:
    """How long a prompt takes, micro-batch by micro-batch."""

    stages: Sequence[Stage]  # of one micro-batch
    n_chunks: int
    is_pipeline: bool
    profile: SpeedProfile

    @classmethod
    def of(cls, setup: Setup, n_prompt: int, depth: int) -> "_Prompt":
        stages = stages_of(setup, prompt_step(setup.shape, n_prompt, depth))
        overlaps = _is_pipeline(setup) and len(stages) > 1
        return cls(stages, _n_chunks(setup.shape, n_prompt), overlaps, setup.profile)

    def seconds(self, pace: Pace) -> float:
        times = [pace(stage) for stage in self.stages]
        if not self.is_pipeline:
            return self.n_chunks * (self.profile.step_s + sum(times))
        beat_s = max(times) / self.profile.pipeline_efficiency
        return self.profile.step_s + sum(times) + (self.n_chunks - 1) * min(beat_s, sum(times))


def _is_pipeline(setup: Setup) -> bool:
    """Source: llama.cpp src/llama-context.cpp, the constructor's pipeline_parallel."""
    placement = setup.placement
    is_whole = placement.n_gpu_layers > setup.spec.n_layers and not placement.has_experts_aside
    return is_whole and placement.split_mode == "layer" and len(placement.device_ids) > 1


def _range(figure: Callable[[Pace], float]) -> Range:
    """Every stage slow at once is the p10; it errs to the wide side when there are several."""
    return Range(
        figure(lambda stage: stage.slow_s),
        figure(lambda stage: stage.time_s),
        figure(lambda stage: stage.fast_s),
    )
