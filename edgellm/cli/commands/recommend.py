"""`edgellm recommend`: of all models that we know by name, those that this machine runs best."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgellm.cli.flags import options
from edgellm.cli.flags.described import Described
from edgellm.cli.flags.pins import Pins

if TYPE_CHECKING:
    from edgellm.cli.preparing.best import Choice
    from edgellm.config import Config
    from edgellm.errors import DoesNotFit
    from edgellm.models.known.ratings import Kind
    from edgellm.probe.hardware import Hardware
    from edgellm.selector.plan import Goal

_DROPPED_FIRST = ("LOSS", "PARAMS", "CONTEXT", "QUANT")


def recommend(
    pins: Pins,
    described: Described,
    every: Annotated[
        bool, typer.Option("--all", help="Every model that fits, not one of each family.")
    ] = False,
    offline: options.Offline = False,
    as_json: options.AsJSON = False,
) -> None:
    """Rank the models of the catalog for this machine.

    First those that are fast enough for the use without losing much quality, the best first; then
    what fits and is slower. One of each family, ten at most; what does not fit is not listed.
    Nothing is downloaded and nobody is asked.

    Which is better goes by people's ratings at LMArena; with --use code, by those of prompts about
    programs. What is not rated is estimated by its size, its age and its family, and marked so.

    With --offline only what is on this disk is ranked, since nothing else can be had without a
    network; for a machine that is only described (--on, --device), the whole catalog.

    \b
      edgellm recommend
      edgellm recommend --use code --min-tok-s 20
      edgellm recommend --on rpi5 --all
      edgellm recommend --offline
    """
    from edgellm.cli.output import columns, print_json
    from edgellm.models.known.ratings import kind_of
    from edgellm.tables import wrapped

    config = options.config_from(offline=offline, reserve=pins.reserve)
    hardware = described.hardware()
    goal = pins.goal(config.reserve)
    kind = kind_of(pins.use or "chat")
    is_of_disk = config.offline and described.is_here
    if is_of_disk:
        found = _of_disk(config, hardware, goal, kind)
    else:
        found = _of_catalog(hardware, goal, kind, is_here=described.is_here, every=every)
    if not found:
        raise _nothing(config, described, is_of_disk=is_of_disk)
    if as_json:
        titles = _tables(found, config)
        print_json([_facts(one, kind) | {"table": titles.get(one.name)} for one in found])
        return
    print(_table(found, columns(), has_cards=bool(hardware.accelerators)))
    legend = f"{_legend(found, kind)}{_on_equal_terms(found, config)}"
    advice = _advice(found[0], described, pins, is_of_disk=is_of_disk)
    print("", *wrapped(legend, columns()), *wrapped(advice, columns()), sep="\n")


def _of_disk(config: "Config", hardware: "Hardware", goal: "Goal", kind: "Kind") -> "list[Choice]":
    from edgellm.cli.preparing.catalog_ranking import recommended_of_disk
    from edgellm.cli.waiting import Waiting

    with Waiting(lambda: "ranking the models on this disk …"):
        return recommended_of_disk(config, hardware, goal, kind=kind)


def _of_catalog(
    hardware: "Hardware", goal: "Goal", kind: "Kind", *, is_here: bool, every: bool
) -> "list[Choice]":
    from edgellm.cli.preparing.catalog_ranking import rated_candidates, recommended
    from edgellm.cli.preparing.planning import profiles_here
    from edgellm.cli.waiting import Waiting
    from edgellm.profiles import load_profiles

    models = rated_candidates(hardware, kind)
    profiles = profiles_here() if is_here else load_profiles()
    with Waiting(lambda: f"ranking {len(models)} models …"):
        return recommended(models, hardware, goal, profiles, every=every)


def _nothing(config: "Config", described: Described, *, is_of_disk: bool) -> "DoesNotFit":
    from edgellm.cli.preparing.store import store_of
    from edgellm.errors import DoesNotFit
    from edgellm.models.elsewhere.tools import found_models

    if not is_of_disk:
        return DoesNotFit(
            "no model of the catalog fits this machine as you asked",
            hint=f"ask for less, or see what one takes: edgellm plan qwen3:0.6b{described.words}",
        )
    here = [*store_of(config).list(), *found_models()]
    what = "no model on this disk fits as you asked" if here else ""
    return DoesNotFit(
        what or "there is no model on this disk",
        hint="without --offline the catalog is ranked; edgellm run demo needs no download",
    )


def _advice(best: "Choice", described: Described, pins: Pins, *, is_of_disk: bool) -> str:
    """The plan that is told more of is the one that was ranked, by the same flags."""
    if is_of_disk:
        return f"edgellm run {best.name} needs no network"
    then = f"; edgellm pull {best.name} downloads it" if described.is_here else ""
    if best.min_tok_s is not None:
        pins = replace(pins, min_tok_s=best.min_tok_s)
    flags = "".join(f" {flag}" for flag in pins.given())
    return f"edgellm plan {best.name}{described.words}{flags} tells more{then}"


def _table(found: "list[Choice]", n_columns: int, *, has_cards: bool = False) -> str:
    """Where a terminal is too narrow it goes without what the name, the quantization and the plan
    tell, too."""
    from edgellm.tables import fitting
    from edgellm.units import format_bytes, format_params

    rows = []
    for choice in found:
        plan, spec = choice.plan, choice.candidate.spec
        rows.append(
            (
                choice.name,
                plan.quant,
                format_params(spec.n_params),
                format_bytes(plan.total_bytes),
                f"{plan.n_parallel}×{plan.n_ctx_seq}",
                _range(choice),
                f"{choice.kld:.4f}",
                _points(choice),
                _why(choice, has_cards=has_cards),
            )
        )
    headings = ("MODEL", "QUANT", "PARAMS", "MEMORY", "CONTEXT", "TOK/S", "LOSS", "RATING", "WHY")
    right = "PARAMS,MEMORY,CONTEXT,TOK/S,LOSS,RATING"
    return fitting(headings, rows, columns=n_columns, may_go=_DROPPED_FIRST, right=right)


def _range(choice: "Choice") -> str:
    """One run in ten is slower, one in ten faster."""
    rate = choice.plan.decode_tok_s
    if rate is None:
        return ""
    digits = 0 if rate.p10 >= 10 else 1
    return f"{rate.p10:.{digits}f}–{rate.p90:.{digits}f}"


def _points(choice: "Choice") -> str:
    rating = choice.rating
    if rating.is_published:
        return f"{rating.points:.0f}"
    return f"~{rating.points:.0f}±{rating.spread:.0f}"


def _why(choice: "Choice", *, has_cards: bool = False) -> str:
    """Where its rating is from, and what speaks against it."""
    rating = choice.rating
    if rating.is_published:
        parts = [f"rated, {rating.released}"]
    elif rating.released is None:
        parts = ["by size, age unknown"]
    else:
        kin = f", {rating.n_kin} kin" if rating.n_kin else ""
        parts = [f"by size, {rating.released}{kin}"]
    if choice.plan.n_ctx_seq > choice.candidate.spec.n_ctx_train:
        parts.append(f"trained for {choice.candidate.spec.n_ctx_train} tokens")
    if rating.is_base:
        parts.append("not taught to answer")
    if has_cards and not choice.plan.devices:
        parts.append("on the CPU alone")
    if not choice.is_whole:
        parts.append("loses much")
    elif not choice.is_good:
        parts.append("slow for this use")
    return "; ".join(parts)


def _legend(found: "list[Choice]", kind: "Kind") -> str:
    from edgellm.models.known.ratings import load_ratings

    what = "prompts about programs" if kind == "code" else "all prompts"
    text = f"RATING: LMArena {load_ratings().date}, {what}; 100 points more win 64 of 100 times"
    if all(choice.rating.is_published for choice in found):
        return text
    return (
        f"{text}; ~ is not rated: estimated by size, release and rated kin, and ranked by the "
        "lower end where nothing so small is rated"
    )


def _tables(found: "list[Choice]", config: "Config") -> dict[str, str]:
    """Of the settings, by the models that have one."""
    from edgellm.cli.flags.tables import table_of

    tables = {choice.name: table_of(config, choice.name).title for choice in found}
    return {name: title for name, title in tables.items() if title}


def _on_equal_terms(found: "list[Choice]", config: "Config") -> str:
    """A table says how its own model is to run; a ranking asks all for the same."""
    titles = ", ".join(_tables(found, config).values())
    return f"; ranked without {titles}, which plan and serve heed" if titles else ""


def _facts(choice: "Choice", kind: "Kind") -> dict[str, Any]:
    plan, spec = choice.plan, choice.candidate.spec
    return {
        "model": choice.name,
        "source": choice.candidate.source,
        "license": spec.license,
        "released": choice.rating.released,
        "rating": _rating_facts(choice, kind),
        "quant": plan.quant,
        "n_params": spec.n_params,
        "file_bytes": choice.candidate.file_bytes,
        "total_bytes": plan.total_bytes,
        "n_ctx_seq": plan.n_ctx_seq,
        "n_parallel": plan.n_parallel,
        "kv_type_k": plan.kv_type_k,
        "decode_tok_s": plan.decode_tok_s,
        "prefill_tok_s": plan.prefill_tok_s,
        "kld": round(choice.kld, 5),
        "keeps_pace": choice.is_good,
        "loses_little": choice.is_whole,
    }


def _rating_facts(choice: "Choice", kind: "Kind") -> dict[str, Any]:
    from edgellm.models.known.ratings import load_ratings

    rating, table = choice.rating, load_ratings()
    spread = rating.spread or 0.0
    return {
        "points": round(rating.points, 1),
        "low": round(rating.points - spread, 1),
        "high": round(rating.points + spread, 1),
        "counted": round(rating.counted, 1),
        "is_published": rating.is_published,
        "n_kin": rating.n_kin,
        "is_base": rating.is_base,
        "of": kind,
        "source": table.source,
        "date": table.date,
        "why": _why(choice),
    }
