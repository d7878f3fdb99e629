"""A model's own head for the tokens after the next one (MTP), as a draft model. Pure.

It is one, as far as memory goes: a block of weights and a context for the same conversations. It
lies with the last layer, and what the embedding and the output matrix take is the model's already.
"""

from dataclasses import replace
from typing import Final

from edgellm.models.spec import ModelSpec
from edgellm.selector.memory.shape import MOST_ROWS, ContextShape
from edgellm.selector.plan import Candidate, DraftFile, Plan

_F32 = 4
# Whose head was driven with this llama.cpp. It has graphs for more (src/models/*.cpp, graph_mtp),
# and a wrong guess about one of them would end the worker by an assertion.
_DRIVEN: Final = frozenset({"glm4moe", "qwen35", "qwen35moe"})
# Their graphs turn the head's vectors by one axis, and ggml asserts as many as the model has.
_ONE_AXIS: Final = frozenset({"glm4moe"})


def with_head(candidate: Candidate) -> Candidate:
    """The head guesses for it, if it has one that can be driven."""
    if why_without(candidate.spec):
        return candidate
    return replace(candidate, draft=DraftFile("", head_spec(candidate.spec), is_head=True))


def why_without(spec: ModelSpec) -> str | None:
    if not spec.n_draft_layers or not spec.draft_bytes:
        return "its file has no head for guesses (MTP)"
    if spec.architecture not in _DRIVEN:
        return f"the head for guesses (MTP) of {spec.architecture} models is not supported"
    if spec.n_draft_layers > 1:
        return f"it has {spec.n_draft_layers} heads for guesses (MTP), and one can be driven"
    if spec.has_mrope and spec.architecture in _ONE_AXIS:
        return "its head for guesses (MTP) has no positions for pictures in llama.cpp"
    return None


def without_head(plan: Plan, why: str | None) -> Plan:
    """Guesses are looked up, as they are where nobody asks for anything."""
    said = f"guesses are looked up: {why}"
    return replace(plan, speculate="ngram", reasons=(*plan.reasons, said))


def head_spec(spec: ModelSpec) -> ModelSpec:
    """Attention of the head is that of the last layer that attends: it keeps as much of each token.
    It has no state, where others of the model's layers do."""
    trunk = spec.layers[: spec.n_layers - spec.n_draft_layers]
    last = next((layer for layer in reversed(trunk) if not layer.state_bytes), trunk[-1])
    return replace(
        spec,
        name=f"the head of {spec.name}",
        layers=(replace(last, weight_bytes=spec.draft_bytes),),
        input_bytes=0,
        output_bytes=0,
        rope_bytes=0,
        n_draft_layers=0,
        draft_bytes=0,
        file_bytes=spec.draft_bytes,
    )


def state_bytes(spec: ModelSpec, shape: ContextShape) -> int:
    """Of the vectors that both contexts hand back, on the host: the model's of each row, the
    head's of each guess. Source: src/llama-context.cpp output_reserve, embd_nextn."""
    return _F32 * spec.n_embd * (min(MOST_ROWS, shape.n_ctx) + shape.n_seq_max)
