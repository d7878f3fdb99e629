from dataclasses import replace

from edgellm.cli.commands.recommend import _advice, _table, _why, recommend
from edgellm.cli.flags.described import Described
from edgellm.cli.flags.pins import Pins
from edgellm.cli.preparing.catalog_ranking import rated_candidates, recommended
from edgellm.cli.preparing.resolve import catalog_candidates
from edgellm.models.known import catalog
from edgellm.probe.known.boards import hardware_from_board
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal

RTX_4090 = hardware_from_board("rtx4090")


def ranked(goal):
    return recommended(rated_candidates(RTX_4090, "chat"), RTX_4090, goal, load_profiles())


def whys(n_ctx_seq):
    goal = Goal(n_ctx_seq=n_ctx_seq, n_parallel=1)
    found = ranked(goal)
    return {choice.candidate.spec.n_ctx_train: _why(choice) for choice in found}


def test_a_context_that_a_model_was_not_trained_for_is_marked():
    told = whys(1_000_000)
    assert told
    for n_ctx_train, why in told.items():
        assert (f"trained for {n_ctx_train} tokens" in why) is (n_ctx_train < 1_000_000)


def test_a_usual_context_is_not():
    assert not any("trained for" in why for why in whys(2048).values())


def test_the_table_fits_terminals_and_keeps_what_is_told_nowhere_else():
    found = ranked(Goal())
    heads = {}
    for n_columns in (60, 80, 100, 140):
        lines = _table(found, n_columns).split("\n")
        heads[n_columns] = lines[0].split()
        assert n_columns == 60 or max(map(len, lines)) <= n_columns

    assert "LOSS" not in heads[80]
    assert "LOSS" in heads[140]
    assert all(
        {"MODEL", "MEMORY", "TOK/S", "RATING", "WHY"} <= {*names} for names in heads.values()
    )
    assert len(heads[60]) == len(heads[80]) < len(heads[100]) < len(heads[140])


def test_the_plan_that_tells_more_is_asked_for_as_the_ranking_was():
    pins, described = Pins(ctx=32768, use="agent"), Described(on=["rtx4090"])
    best = ranked(pins.goal())[0]
    told = _advice(best, described, pins, is_of_disk=False)
    assert told == f"edgellm plan {best.name} --on rtx4090 --ctx 32768 --use agent tells more"


def test_whatever_stands_below_the_table_ends_its_lines_between_words(monkeypatch, capsys):
    monkeypatch.setattr("edgellm.cli.output.columns", lambda: 60)
    pins = Pins(ctx=32768, use="agent")
    recommend(pins, Described(on=["rtx4090"]))
    *_, legend, advice = capsys.readouterr().out.partition("\nRATING: ")
    lines = (legend + advice).splitlines()
    assert " tells more" in " ".join(lines)
    assert max(map(len, lines)) <= 60


def test_a_plan_that_was_bound_to_a_pace_is_asked_for_with_it():
    """The balanced plan of a 27 B on 12 GiB reads a list with less loss, and too slowly."""
    pins, hardware = Pins(use="batch"), hardware_from_board("rtx3060")
    best = recommended(rated_candidates(hardware, "chat"), hardware, pins.goal(), load_profiles())[
        0
    ]
    told = _advice(best, Described(on=["rtx3060"]), pins, is_of_disk=False)
    assert " --min-tok-s 4 " in told
    candidates = catalog_candidates(catalog.find(best.name))
    goal = replace(pins.goal(), min_tok_s=4.0)
    again = choose(hardware, candidates, goal, load_profiles(), explained=False)
    assert (again.quant, again.placement) == (best.plan.quant, best.plan.placement)


def test_what_no_card_there_can_run_is_said_to_run_on_the_cpu():
    """Ascend's backend multiplies few types, and has crashed with recurrent layers."""
    hardware = hardware_from_board("ascend-910b")
    models = rated_candidates(hardware, "chat")
    few = [one for one in models if one.entry.name in ("gpt-oss:120b", "gemma3:12b")]
    found = recommended(few, hardware, Goal(), load_profiles())
    told = {choice.name: _why(choice, has_cards=True) for choice in found}
    assert told["gpt-oss:120b"].endswith("; on the CPU alone")
    assert "CPU" not in told["gemma3:12b"]
    assert not any("CPU" in _why(choice) for choice in found)
    assert "on the CPU" in _table(found, 120, has_cards=True)
