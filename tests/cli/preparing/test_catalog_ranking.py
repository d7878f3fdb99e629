import pytest
from selector_machines import machine

from edgellm.cli.preparing.best import choice_of
from edgellm.cli.preparing.catalog_ranking import (
    rated_candidates,
    recommended,
    recommended_of_disk,
)
from edgellm.cli.preparing.resolve import catalog_candidates
from edgellm.config import Config
from edgellm.models.known.catalog import find
from edgellm.models.known.ratings import rating
from edgellm.probe.known.boards import hardware_from_board
from edgellm.profiles import load_profiles
from edgellm.selector.plan import Goal

PROFILES = load_profiles()


def ranked(hardware, goal, kind="chat"):
    return recommended(rated_candidates(hardware, kind), hardware, goal, PROFILES)


def families(choices):
    return [choice.name.partition(":")[0] for choice in choices]


@pytest.fixture(scope="module")
def on_a_small_board():
    return ranked(hardware_from_board("rpi5"), Goal())


def test_ten_at_most_and_one_of_each_family(on_a_small_board):
    assert len(on_a_small_board) == 10
    assert len(set(families(on_a_small_board))) == 10


def test_the_best_comes_first(on_a_small_board):
    merits = [choice.merit for choice in on_a_small_board]

    assert merits == sorted(merits, reverse=True)


def test_what_is_listed_fits(on_a_small_board):
    room_bytes = hardware_from_board("rpi5").host.total_bytes

    assert all(choice.plan.total_bytes < room_bytes for choice in on_a_small_board)


def test_only_what_can_be_had_and_served_is_listed(on_a_small_board):
    for choice in on_a_small_board:
        assert choice.candidate.source.startswith("hf.co/")
        assert choice.plan.decode_tok_s is not None


def names_for(kind):
    return [one.entry.name for one in rated_candidates(hardware_from_board("rtx3060"), kind)]


def test_a_newer_model_of_four_billion_parameters_stands_above_an_old_one_of_seven():
    names = names_for("chat")
    for newer in ("qwen3:4b", "gemma3:4b"):
        for older in ("llama2:7b", "mistral:7b", "mpt:7b"):
            assert names.index(newer) < names.index(older)


def test_for_code_the_ratings_of_prompts_about_programs_count():
    chat, code = names_for("chat"), names_for("code")

    assert chat.index("gemma3:12b") < chat.index("gpt-oss:20b")
    assert code.index("gpt-oss:20b") < code.index("gemma3:12b")
    assert chat.index("qwen2.5:7b") < chat.index("qwen2.5-coder:7b")
    assert code.index("qwen2.5-coder:14b") < code.index("qwen2.5:14b")


def test_what_is_for_code_is_ranked_by_that():
    found = ranked(hardware_from_board("rpi5"), Goal(use="agent"), "code")

    assert [choice.merit for choice in found] == sorted((c.merit for c in found), reverse=True)
    for choice in found:
        assert choice.rating == rating(find(choice.name), "code")


def test_what_is_ranked_says_whether_somebody_rated_it(on_a_small_board):
    for choice in on_a_small_board:
        rating = choice.rating
        assert rating.released is not None
        assert rating.is_published == (rating.spread is None)


def test_a_wish_that_nothing_keeps_leaves_nothing():
    assert ranked(machine(ram=1.5), Goal(min_tok_s=10_000)) == []


def test_on_a_machine_without_room_nothing_is_recommended():
    assert ranked(machine(ram=0.1), Goal()) == []


def test_on_a_disk_without_models_there_is_nothing_to_rank(tmp_path):
    config = Config(cache_dir=str(tmp_path), offline=True)

    assert recommended_of_disk(config, machine(), Goal()) == []


def test_a_pace_leaves_those_that_have_a_plan_for_it_and_no_other():
    hardware, goal = hardware_from_board("rtx3060"), Goal(min_tok_s=60.0)
    models = rated_candidates(hardware, "chat")[::9]
    found = recommended(models, hardware, goal, PROFILES, every=True)
    planned = [
        one.entry.name
        for one in models
        if choice_of(catalog_candidates(one.entry), hardware, goal, PROFILES, one.rating)
    ]
    assert {choice.name for choice in found} == set(planned)
    assert 0 < len(planned) < len(models)


def test_a_pace_that_nothing_keeps_makes_no_model_be_planned(monkeypatch):
    """A plan for each of a hundred models in six files took five seconds, to say that."""

    def looked_at(*facts, **words):
        raise AssertionError("planned")

    monkeypatch.setattr("edgellm.cli.preparing.best.choose", looked_at)
    hardware = hardware_from_board("rtx3060")
    for every in (False, True):
        models = rated_candidates(hardware, "chat")
        goal = Goal(min_tok_s=1e5)
        assert recommended(models, hardware, goal, PROFILES, every=every) == []
