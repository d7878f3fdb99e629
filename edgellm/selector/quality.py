"""How much a quantization loses: mean KL divergence from the unquantized model.

A known label gives its measured value. A label that the table doesn't have is placed by its real
bits for each weight, which come from the header's tensor types, on the line between its neighbours
(log KLD over bits is nearly straight). Below 4 bits the same label differs by a factor of two
between quantizers, so treat close values as equal.
"""

import math
from itertools import pairwise

from edgellm.models.spec import ModelSpec
from edgellm.selector.plan import KVType
from edgellm.selector.profiles import QualityProfile, QuantQuality

_PREFIXES = ("UD-", "I1-")  # Unsloth's dynamic mixes, mradermacher's imatrix ones
_SUFFIXES = ("_XL", "_L")  # embedding and head at Q8_0; where the table has no row of their own


def weight_kld(profile: QualityProfile, quant: str, spec: ModelSpec) -> float:
    row = _row(profile, quant)
    return row.kld if row else kld_of_bits(profile, bits_per_weight(spec))


def kv_kld(profile: QualityProfile, k: KVType, v: KVType) -> float:
    """What a quantized cache adds; an unmeasured type counts like the worst measured."""
    rows = {row.type: row for row in profile.kv}
    worst_k, worst_v = max(x.kld_k for x in profile.kv), max(x.kld_v for x in profile.kv)
    return (rows[k].kld_k if k in rows else worst_k) + (rows[v].kld_v if v in rows else worst_v)


def bits_per_weight(spec: ModelSpec) -> float:
    return 8 * spec.file_bytes / max(1, spec.n_params)


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


def _row(profile: QualityProfile, quant: str) -> QuantQuality | None:
    by_label = {row.label: row for row in profile.quants}
    label = quant.upper()
    for prefix in _PREFIXES:
        label = label.removeprefix(prefix)
    for suffix in ("", *_SUFFIXES):
        if label.endswith(suffix) and (row := by_label.get(label.removesuffix(suffix))):
            return row
    return None
