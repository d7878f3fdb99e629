import selector_specs as specs
from selector_machines import machine

from edgellm.profiles import load_profiles
from edgellm.selector.plan import Goal
from edgellm.selector.telling.instead import instead, sentence

PROFILES = load_profiles()


def found(hardware, **wishes):
    return instead(hardware, specs.ladder(), Goal(**wishes), PROFILES)


def test_the_wish_that_is_too_much_is_the_one_to_let_go():
    (only,) = found(machine(ram=12), n_ctx_seq=1 << 20, kv_type_k="q8_0")

    assert only.without == "--ctx"
    assert only.plan.kv_type_k == "q8_0"
    assert only.plan.n_ctx_seq < 1 << 20


def test_where_each_alone_is_enough_each_is_told():
    told = found(machine(ram=9), n_ctx_seq=32768, n_parallel=4)

    assert [one.without for one in told] == ["--parallel", "--ctx"]


def test_where_none_is_enough_they_go_together():
    (only,) = found(machine(ram=8), n_ctx_seq=262144, n_parallel=64)

    assert only.without == "--parallel, --ctx"


def test_only_the_flags_that_were_given_are_named():
    (only,) = found(machine(ram=12), n_ctx_seq=1 << 20, min_ctx_seq=1 << 19)

    assert only.without == "--ctx, --min-ctx"


def test_on_a_machine_that_is_too_small_nothing_is_promised():
    assert found(machine(ram=1), n_ctx_seq=8192) == ()


def test_without_a_wish_there_is_none_to_let_go():
    assert found(machine(ram=1)) == ()


def test_a_sentence_names_the_flags_and_what_comes_instead():
    (only,) = found(machine(ram=12), n_ctx_seq=1 << 20)
    said = sentence(f"without {only.without}", only.plan)

    assert said.startswith("without --ctx: ")
    assert f"× {only.plan.n_ctx_seq} tokens" in said
    assert "tok/s" in said
