"""Which experts leave the devices when not all find room: as few bytes of them as can be.

Whole layers leave from the lowest one upwards, as with --n-cpu-moe. Where a device ends, its next
layer may be cut in two: the matrices that find room are the device's, the others the host's. As
llama.cpp's --fit cuts (common/fit.cpp, LAYER_FRACTION_UP and _GATE) those leave first that a token
passes last, so that it crosses over to the host and back once.
"""

from collections.abc import Callable, Iterator

from edgellm.selector.memory.layout import Aside
from edgellm.selector.placing.filling import Filling
from edgellm.selector.plan import ExpertPart

Borders = tuple[ExpertPart, ...]


def fewest_experts(filling: Filling, n_layers: int) -> Aside:
    """For the last `n_layers` layers, which are known to fit without any experts."""
    n = first(lambda n: filling.fits(n_layers, Aside(n)), 1, filling.load.n_blocks)
    least, borders = _last_cut(filling, n_layers, n, ()), Borders()
    for i in range(len(filling.order) - 1):
        il = filling.below(i, n_layers, least)
        if least.matrices(il):
            continue  # it leaves already
        for part in _cuts(filling, il):
            tried = _last_cut(filling, n_layers, least.n_layers + 1, (part, *borders))
            saved = _host_bytes(filling, least) - _host_bytes(filling, tried)
            if saved > _smallest_matrix_bytes(filling, il) / 2:
                least, borders = tried, (part, *borders)
                break
    return least


def first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest number from low on for which it holds; `high` is known to."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _last_cut(filling: Filling, n_layers: int, n: int, borders: Borders) -> Aside:
    """The fewest layers whose experts must leave, at most `n`, which fits; of the last of them a
    part stays where there is room for it."""

    def aside(n: int, *cut: ExpertPart) -> Aside:
        return Aside(n, (*cut, *(part for part in borders if part.layer >= n)))

    while n and filling.fits(n_layers, aside(n - 1)):
        n -= 1
    cuts = _cuts(filling, n - 1) if n and not aside(n - 1).matrices(n - 1) else ()
    tried = (aside(n - 1, part) for part in cuts)
    return next((one for one in tried if filling.fits(n_layers, one)), aside(n))


def _cuts(filling: Filling, il: int) -> Iterator[ExpertPart]:
    """Ways to cut layer `il`'s experts in two, those that leave least to the host first."""
    layers = filling.load.spec.layers
    matrices = layers[il].expert_matrices if 0 <= il < len(layers) else ()
    for n_kept in range(len(matrices) - 1, 0, -1):
        yield ExpertPart(il, matrices[n_kept:])


def _smallest_matrix_bytes(filling: Filling, il: int) -> int:
    """A cut that saves less than half of this does so only because two layers' tensor types differ,
    and costs a way to the host and back all the same."""
    layer = filling.load.spec.layers[il]
    return min(layer.matrices_bytes((matrix,)) for matrix in layer.expert_matrices)


def _host_bytes(filling: Filling, aside: Aside) -> int:
    return filling.load.bulk.aside_bytes(aside)[-1]
