"""`edgellm recommend`: of all models that we know by name, those that this machine runs best."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgellm.cli.flags import options
from edgellm.cli.flags.described import Described
from edgellm.cli.flags.pins import Pins

if TYPE_CHECKING:
    from edgellm.cli.preparing.best import Choice


def recommend(
    pins: Pins,
    described: Described,
    every: Annotated[
        bool, typer.Option("--all", help="Every model that fits, not one of each family.")
    ] = False,
    as_json: options.AsJSON = False,
) -> None:
    """Rank the models of the catalog for this machine.

    First those that keep the pace of the use without losing much, the largest first; then what
    fits and is slower. One of each family, ten at most; what does not fit is not listed. Nothing
    is downloaded and nobody is asked. With --use code the families made for it come first.

    \b
      edgellm recommend
      edgellm recommend --use code --min-tok-s 20
      edgellm recommend --on rpi5 --all
    """
    from edgellm.cli.output import print_json
    from edgellm.cli.preparing.catalog_ranking import recommended
    from edgellm.cli.preparing.planning import profiles_here
    from edgellm.errors import DoesNotFit
    from edgellm.profiles import load_profiles

    config = options.config_from(reserve=pins.reserve)
    hardware = described.hardware()
    goal = pins.goal(config.reserve)
    profiles = profiles_here() if described.is_here else load_profiles()
    found = recommended(hardware, goal, profiles, prefers_code=pins.use == "code", every=every)
    if not found:
        raise DoesNotFit(
            "no model of the catalog fits this machine as you asked",
            hint="ask for less, or see what one takes: edgellm plan qwen3:0.6b",
        )
    if as_json:
        print_json([_facts(choice) for choice in found])
        return
    print(_table(found))
    name = found[0].name
    then = f"; edgellm pull {name} downloads it" if described.is_here else ""
    print(f"\nedgellm plan {name}{described.words} tells more{then}")


def _table(found: "list[Choice]") -> str:
    from edgellm.tables import table
    from edgellm.units import format_bytes

    rows = []
    for choice in found:
        plan, spec = choice.plan, choice.candidate.spec
        rows.append(
            (
                choice.name,
                plan.quant,
                f"{spec.n_params / 1e9:.1f} B",
                format_bytes(plan.total_bytes),
                f"{plan.n_parallel}×{plan.n_ctx_seq}",
                _range(choice),
                f"{choice.kld:.4f}",
                _remark(choice),
            )
        )
    headings = ("MODEL", "QUANT", "PARAMS", "MEMORY", "CONTEXT", "TOK/S", "LOSS", "")
    return table(headings, rows, right="PARAMS,MEMORY,CONTEXT,TOK/S,LOSS")


def _range(choice: "Choice") -> str:
    """One run in ten is slower, one in ten faster."""
    rate = choice.plan.decode_tok_s
    if rate is None:
        return ""
    digits = 0 if rate.p10 >= 10 else 1
    return f"{rate.p10:.{digits}f}–{rate.p90:.{digits}f}"


def _remark(choice: "Choice") -> str:
    if choice.is_good:
        return ""
    return "slow for this use" if choice.is_whole else "loses much"


def _facts(choice: "Choice") -> dict[str, Any]:
    plan, spec = choice.plan, choice.candidate.spec
    return {
        "model": choice.name,
        "source": choice.candidate.source,
        "license": spec.license,
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
