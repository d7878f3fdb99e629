from dataclasses import replace

import pytest
from selector_machines import machine
from selector_specs import candidate, dense

from edgellm import resources
from edgellm.cli.preparing.planning import planned_as_tuned
from edgellm.cli.preparing.tuned import Served, Tuned, find, goal_with, keep, with_batch
from edgellm.errors import StorageError
from edgellm.models import local
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.knobs import Knobs
from edgellm.selector.plan import Goal

START = Knobs(8, 2048, 512, None)
BEST = Knobs(6, 1024, 256, False)
CHAT = Served("chat", 4)


@pytest.fixture(scope="module")
def headers():
    return local.read_headers(resources.demo_model())


def tuned(best=BEST, start=START, served=CHAT):
    return Tuned(
        model="demo", quant="F16", date="2026-11-26", served=served, best=best, start=start,
        decode_tok_s=40.0, prefill_tok_s=400.0, gain_ratio=0.17, scatter_ratio=0.02,
    )  # fmt: skip


def test_what_was_kept_is_found_again(tmp_path, headers):
    keep(tuned(), machine(), headers, tmp_path)

    assert find(machine(), headers, CHAT, tmp_path) == tuned()


def test_what_cannot_be_kept_is_told_with_what_was_fastest(tmp_path, headers):
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match=r"can't be kept in .*: Not a directory") as caught:
        keep(tuned(), machine(), headers, tmp_path / "file" / "tuned")
    assert "threads 6 (8), micro-batch 256 (512)" in caught.value.hint


def test_where_the_plan_was_the_fastest_there_is_nothing_to_use(tmp_path, headers):
    keep(tuned(best=START), machine(), headers, tmp_path)

    assert find(machine(), headers, CHAT, tmp_path) is None


def test_another_machine_or_another_file_has_its_own(tmp_path, headers):
    keep(tuned(), machine(), headers, tmp_path)
    (first,) = headers
    other = replace(first, tensors=first.tensors[:-1])

    assert find(machine((8, 500)), headers, CHAT, tmp_path) is None
    assert find(machine(), (other,), CHAT, tmp_path) is None


def test_each_use_and_each_number_of_conversations_has_its_own(tmp_path, headers):
    agent = tuned(best=replace(START, n_threads=6), served=Served("agent", 2))
    keep(tuned(), machine(), headers, tmp_path)
    keep(agent, machine(), headers, tmp_path)

    assert find(machine(), headers, CHAT, tmp_path) == tuned()
    assert find(machine(), headers, Served("agent", 2), tmp_path) == agent
    assert find(machine(), headers, Served("chat", 8), tmp_path) is None


def test_as_many_conversations_as_the_use_wishes_for_are_the_same_asked_for_or_not():
    spec = dense()

    assert Served.of(spec, Goal()) == Served.of(spec, Goal(n_parallel=4)) == CHAT
    assert Served.of(spec, Goal(use="agent")) == Served("agent", 2)
    assert Served.of(spec, Goal(n_parallel=1)) == Served("chat", 1)


def test_a_newer_measurement_takes_the_place_of_an_older_one(tmp_path, headers):
    keep(tuned(), machine(), headers, tmp_path)
    keep(tuned(best=START), machine(), headers, tmp_path)

    assert find(machine(), headers, CHAT, tmp_path) is None
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_a_file_that_cannot_be_read_is_none(tmp_path, headers):
    keep(tuned(), machine(), headers, tmp_path).write_bytes(b'{"model": "demo"')

    assert find(machine(), headers, CHAT, tmp_path) is None


def test_what_was_measured_goes_where_the_user_said_nothing():
    assert goal_with(tuned(), Goal()) == Goal(
        n_threads=6, n_ubatch=256, flash_attention=False,
        tuned=("n_threads", "n_ubatch", "flash_attention"),
    )  # fmt: skip
    assert goal_with(tuned(), Goal(n_threads=2, flash_attention=True)) == Goal(
        n_threads=2, n_ubatch=256, flash_attention=True, tuned=("n_ubatch",)
    )


def test_what_stayed_as_it_was_is_left_to_the_selector():
    only_threads = goal_with(tuned(best=replace(START, n_threads=6)), Goal())

    assert only_threads == Goal(n_threads=6, tuned=("n_threads",))


def test_what_was_measured_is_not_said_to_have_been_asked_for():
    goal = goal_with(tuned(best=replace(START, n_threads=6)), Goal(n_ctx_seq=4096))
    plan = choose(machine(), [candidate(dense())], goal, load_profiles())

    assert plan.n_threads == 6
    assert "as you asked: --ctx 4096" in plan.reasons


def test_the_batch_is_never_smaller_than_what_it_has_to_hold():
    plan = choose(machine(), [candidate(dense())], Goal(n_ubatch=2048), load_profiles())

    assert with_batch(tuned(), plan).n_batch == 2048
    assert with_batch(tuned(), replace(plan, n_ubatch=128)).n_batch == 1024
    assert with_batch(tuned(best=START), plan) is plan


def test_it_says_what_was_measured_when_and_what_it_gained():
    assert tuned().sentence(("n_threads", "n_ubatch", "n_batch", "flash_attention")) == (
        "measured by edgellm tune --use chat on 2026-11-26: threads 6 (8), micro-batch 256 (512), "
        "batch 1024 (2048), flash attention off (auto): a request takes 17% less time"
    )


def test_it_says_nothing_of_settings_that_a_flag_went_before():
    assert tuned().sentence(("n_threads",)) == (
        "measured by edgellm tune --use chat on 2026-11-26: threads 6 (8)"
    )
    assert tuned().sentence(()) is None


@pytest.fixture
def tuned_demo(monkeypatch, tmp_path, headers):
    """The demo's file as a candidate, tuned on this machine in an empty home."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    demo = replace(candidate(dense()), headers=tuple(headers))
    best = replace(START, n_ubatch=256)
    keep(tuned(best=best), machine(), headers)
    return demo


def test_a_plan_for_this_machine_is_as_tuned_and_says_so(tuned_demo):
    plan = planned_as_tuned(machine(), [tuned_demo], Goal(), asks_oracle=False)

    assert plan.n_ubatch == 256
    assert any("micro-batch 256 (512)" in reason for reason in plan.reasons)


def test_another_use_is_planned_as_if_nothing_was_measured(tuned_demo):
    plan = planned_as_tuned(machine(), [tuned_demo], Goal(use="agent"), asks_oracle=False)

    assert plan.n_ubatch != 256
    assert not any("tune" in reason for reason in plan.reasons)


def test_a_flag_goes_before_what_was_measured_and_nothing_is_said_of_it(tuned_demo):
    plan = planned_as_tuned(machine(), [tuned_demo], Goal(n_ubatch=128), asks_oracle=False)

    assert plan.n_ubatch == 128
    assert not any("tune" in reason for reason in plan.reasons)
