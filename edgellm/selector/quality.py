"""How much a quantization loses: mean KL divergence from the unquantized model (KLD).

By the types of its tensors, where the header tells them:

    KLD = Σ over classes of  weight(class) × mean over its weights of KLD(type)

Tensors err independently and KLD is quadratic in a small error, so losses add: good attention
can't make up for poor experts. The constants are a fit (profiles/quality.toml, and the script that
made it, scripts/fit_quality.py). Their scale is Llama-3-8B's: other models lose a half to twice as
much, which changes nothing between the files of one model. Without types the label's measured
value counts, and a label that nobody measured is placed by its bits on the line between its
neighbours (log KLD over bits is nearly straight). Below 4 bits the same label differs by a factor
of two between quantizers, so treat close values as equal.
"""

import math
from itertools import pairwise

from edgellm.models.anatomy.tensor_types import TensorClass
from edgellm.models.quants import BY_NAME
from edgellm.models.spec import ModelSpec
from edgellm.selector.plan import KVType
from edgellm.selector.profiles import QualityProfile, QuantQuality

_PREFIXES = ("UD-", "I1-")  # Unsloth's dynamic mixes, mradermacher's imatrix ones
_SUFFIXES = ("_XL", "_L")  # embedding and head at Q8_0; where the table has no row of their own


def weight_kld(profile: QualityProfile, quant: str, spec: ModelSpec) -> float:
    if spec.types:
        return kld_of_types(profile, spec)
    row = _row(profile, quant)
    return row.kld if row else kld_of_bits(profile, bits_per_weight(spec))


def kv_kld(profile: QualityProfile, k: KVType, v: KVType) -> float:
    """What a quantized cache adds; an unmeasured type counts like the worst measured."""
    rows = {row.type: row for row in profile.kv}
    worst_k, worst_v = max(x.kld_k for x in profile.kv), max(x.kld_v for x in profile.kv)
    return (rows[k].kld_k if k in rows else worst_k) + (rows[v].kld_v if v in rows else worst_v)


def bits_per_weight(spec: ModelSpec) -> float:
    return 8 * spec.file_bytes / max(1, spec.n_params)


def kld_of_types(profile: QualityProfile, spec: ModelSpec) -> float:
    losses, sizes = dict[TensorClass, float](), dict[TensorClass, int]()
    for share in spec.types:
        kind: TensorClass = "ffn" if share.tensor_class == "other" else share.tensor_class
        loss = _kld_of_type(profile, share.type, spec)
        losses[kind] = losses.get(kind, 0.0) + share.n_weights * loss
        sizes[kind] = sizes.get(kind, 0) + share.n_weights
    weights = {row.tensor_class: row.weight for row in profile.classes if row.tensor_class in sizes}
    if spec.tied_embeddings and "embedding" in weights:  # they are the head as well
        weights["embedding"] += sum(
            row.weight for row in profile.classes if row.tensor_class == "output"
        )
    total = sum(weights.values())
    return sum(weight / total * losses[kind] / sizes[kind] for kind, weight in weights.items())


def kld_of_bits(profile: QualityProfile, bits: float) -> float:
    """Log-linear between the two rows around `bits`; the table's ends hold beyond it."""
    rows = sorted(profile.quants, key=lambda row: row.bits_per_weight)
    if bits <= rows[0].bits_per_weight:
        return rows[0].kld
    for low, high in pairwise(rows):
        if bits <= high.bits_per_weight:
            part = (bits - low.bits_per_weight) / (high.bits_per_weight - low.bits_per_weight)
            return math.exp((1 - part) * math.log(low.kld) + part * math.log(high.kld))
    return rows[-1].kld


def _kld_of_type(profile: QualityProfile, name: str, spec: ModelSpec) -> float:
    """What a model of this type alone would lose; nothing, when it was trained in the type."""
    if any(row.architecture == spec.architecture and row.type == name for row in profile.native):
        return 0.0
    row = next((row for row in profile.types if row.type == name), None)
    if row is None:
        return kld_of_bits(profile, 8 * BY_NAME[name].bytes_per_weight)
    return row.kld * (row.plain_ratio if spec.imatrix is False else 1.0)


def _row(profile: QualityProfile, quant: str) -> QuantQuality | None:
    by_label = {row.label: row for row in profile.quants}
    label = quant.upper()
    for prefix in _PREFIXES:
        label = label.removeprefix(prefix)
    for suffix in ("", *_SUFFIXES):
        if label.endswith(suffix) and (row := by_label.get(label.removesuffix(suffix))):
            return row
    return None
