"""Every candidate searched, the winners refined, the best taken; or why none can be."""

from collections.abc import Sequence

from edgellm.selector.plan import Candidate
from edgellm.selector.search.options import Miss, Option
from edgellm.selector.search.question import Question
from edgellm.selector.search.ranking import Rank
from edgellm.selector.search.search import Search
from edgellm.selector.search.variants import (
    begin_side_by_side,
    may_overtake,
    refine,
    take_smaller_micro_batch,
)
from edgellm.values import frozen

_N_REFINED = 3  # candidates whose best option is tried in its variants


@frozen
class _Resort:
    """`coarse`: a 4-bit cache and small micro-batches are tried, too."""

    coarse: bool = False
    from_disk: bool = False
    sentence: str | None = None


_RESORTS = (
    _Resort(),
    _Resort(coarse=True, sentence="nothing fits with the usual caches and micro-batches"),
    _Resort(coarse=True, from_disk=True, sentence="no memory holds these weights"),
)
_ON_DEVICES = _Resort(
    coarse=True, sentence="with the usual caches and micro-batches it would all be on the CPU"
)


@frozen
class Decision:
    """`searches`: one for each candidate. `resort`: what had to be given up, as a sentence."""

    question: Question
    searches: tuple[Search, ...]
    winner: Search
    chosen: Option
    resort: str | None = None


@frozen
class Nothing:
    question: Question
    misses: tuple[Miss, ...]


def decide(question: Question, candidates: Sequence[Candidate]) -> Decision | Nothing:
    """First as wished; then with a coarse cache and small micro-batches, too, where nothing fits or
    nothing but the CPU is used; from disk when allowed."""
    misses: list[Miss] = []
    for resort in _RESORTS:
        if resort.from_disk and not question.goal.allow_disk:
            continue
        found = _decided(question, candidates, resort)
        if isinstance(found, Decision):
            return found if resort.coarse else _on_devices(found, candidates)
        misses += found
    return Nothing(question, tuple(misses))


def _decided(
    question: Question, candidates: Sequence[Candidate], resort: _Resort, floor: Rank = ()
) -> Decision | list[Miss]:
    """What would rank below `floor` isn't looked for."""
    searches = tuple(
        Search(question, candidate, resort.coarse, resort.from_disk) for candidate in candidates
    )
    _run(searches, question, floor)
    for search in searches:
        begin_side_by_side(search)
    ranked = sorted(
        (search for search in searches if search.best), key=lambda s: s.best_rank, reverse=True
    )
    if not ranked:
        return [miss for search in searches for miss in search.misses]
    _refine(ranked[:_N_REFINED], question)
    winner = max(ranked, key=lambda search: search.best_rank)
    take_smaller_micro_batch(winner)
    assert winner.best is not None
    return Decision(question, searches, winner, winner.best, resort.sentence)


def _on_devices(usual: Decision, candidates: Sequence[Candidate]) -> Decision:
    """A coarse cache on an accelerator may be better than a usual one on the CPU."""
    if usual.chosen.placement.device_ids or not any(usual.question.sets):
        return usual
    rank = usual.winner.best_rank
    coarse = _decided(usual.question, candidates, _ON_DEVICES, floor=rank)
    if isinstance(coarse, Decision) and coarse.winner.best_rank > rank:
        return coarse if coarse.chosen.placement.device_ids else usual
    return usual


def _run(searches: Sequence[Search], question: Question, floor: Rank) -> None:
    """The most promising first, so that what could not come among those that are refined is broken
    off early, where nothing but the best is asked for."""
    if not question.only_best:
        for search in searches:
            search.run(floor)
        return
    ranks: list[Rank] = []
    for search in sorted(searches, key=lambda search: search.promise, reverse=True):
        third = ranks[_N_REFINED - 1] if len(ranks) >= _N_REFINED else floor
        search.run(max(floor, third))
        if search.best:
            ranks = sorted((*ranks, search.best_rank), reverse=True)


def _refine(ranked: Sequence[Search], question: Question) -> None:
    """The best first: what none of another's variants could overtake is as good as chosen."""
    best: Rank = ()
    for search in ranked:
        if not question.only_best or may_overtake(search, best):
            refine(search)
        best = max(best, search.best_rank)
