"""Models of which some layers attend and the others keep a state.

Source: src/models/granite-hybrid.cpp, nemotron-h.cpp.
"""

from edgellm.selector.graph import feed_forward
from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.attention import cached, output, qkv
from edgellm.selector.graph.build import Build, Place
from edgellm.selector.graph.feed_forward import SIGMOID, Routing
from edgellm.selector.graph.mamba import mamba2
from edgellm.selector.graph.tensors import Tensor
from edgellm.selector.graph.transformer import STYLES, attention, feed

_NEMOTRON = Routing(SIGMOID, by_file=True)


def granite_block(build: Build, place: Place, x: Tensor) -> Tensor:
    normed = build.norm(place, "attn_norm", x)
    if place.layer.kv_kind == "recurrent":
        mixed = mamba2(build, place, normed)
    else:
        mixed = attention(build, place, STYLES["granite"], normed)
    mixed, skip = build.only_outputs(place, mixed, x)
    middle = g.add(mixed, skip)
    normed = build.norm(place, "ffn_norm", middle)
    return g.add(feed(build, place, STYLES["granite"], normed), middle)


def nemotron_block(build: Build, place: Place, x: Tensor) -> Tensor:
    """Each does one thing: keep a state, attend without positions, or feed forward."""
    normed = build.norm(place, "attn_norm", x)
    if place.layer.kv_kind == "recurrent":
        mixed = mamba2(build, place, normed)
    elif build.has(place, "attn_q.weight"):
        mixed = output(build, place, cached(build, place, *qkv(build, place, normed)))
    elif build.has(place, "ffn_gate_inp.weight"):
        mixed = _experts(build, place, normed)
    else:
        mixed = feed_forward.dense(build, place, normed)
    return g.add(mixed, x)


def _experts(build: Build, place: Place, x: Tensor) -> Tensor:
    """In a narrower space, in the larger models; who is chosen is told by the whole."""
    narrow = x
    if (down := build.weight(place, "ffn_latent_down.weight")) is not None:
        narrow = g.mul_mat(down, x)
    routed = feed_forward.experts(build, place, narrow, _NEMOTRON, chosen_by=x)
    if (up := build.weight(place, "ffn_latent_up.weight")) is not None:
        routed = g.mul_mat(up, routed)
    return g.add(routed, feed_forward.dense(build, place, x, "_shexp"))
