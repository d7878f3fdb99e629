from dataclasses import replace
from math import log2

from selector_machines import machine
from selector_specs import bert, candidate, dense, ladder

from edgellm.cli.preparing import machine as this_machine
from edgellm.cli.preparing.best import best_of, best_on_disk, best_to_download, choices_of
from edgellm.config import Config
from edgellm.models.known.ratings import Rating, rating_of_unknown
from edgellm.probe.known.boards import hardware_from_board
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal

SMALL = ladder(
    lambda quant: dense("small", n_layers=8, n_embd=1024, n_ff=2816, n_head=8, quant=quant)
)
LARGE = ladder(lambda quant: dense("large", quant=quant))


def best_of_files(models, hardware, goal):
    """Files that no catalog knows: rated by their size alone."""
    rated = [(files, rating_of_unknown(files[0].spec, "chat")) for files in models]
    return best_of(rated, hardware, goal)


def test_of_files_that_nobody_rates_and_that_keep_pace_the_largest_is_best():
    best = best_of_files([SMALL, LARGE], machine((24, 1000)), Goal())

    assert best is not None
    assert best.name == "large"
    assert best.candidate.file == best.plan.file


def test_a_smaller_model_that_is_rated_higher_is_better():
    models = [(LARGE, Rating(1100.0)), (SMALL, Rating(1200.0))]
    best = best_of(models, machine((24, 1000)), Goal())

    assert best is not None
    assert best.name == "small"
    assert best.is_good


def test_of_two_that_are_too_slow_a_much_better_one_may_be_half_as_fast():
    """And no slower one: a halving of the pace is worth a hundred points."""
    slow = machine(ram_bandwidth=0.5)
    both = [(LARGE, Rating(1100.0)), (SMALL, Rating(1100.0))]
    large, small = choices_of(both, slow, Goal())
    halvings = log2(small.plan.decode_tok_s.p50 / large.plan.decode_tok_s.p50)
    assert 0 < small.lack < large.lack
    for more, winner in ((100 * halvings + 5, "large"), (100 * halvings - 5, "small")):
        best = best_of([(LARGE, Rating(1100.0 + more)), (SMALL, Rating(1100.0))], slow, Goal())
        assert best is not None
        assert (best.name, best.is_good) == (winner, False)


def test_pace_that_nobody_needs_earns_no_points():
    (choice,) = choices_of([(SMALL, Rating(1100.0))], machine((24, 1000)), Goal())
    assert choice.lack < 0
    coarse = replace(choice, is_good=False, is_whole=False)
    assert coarse.merit[2] == 1100.0


def test_a_model_that_is_too_slow_to_read_along_loses_to_a_smaller_one():
    best = best_of_files([LARGE, SMALL], machine(ram_bandwidth=20), Goal())

    assert best is not None
    assert best.name == "small"


def test_a_large_model_that_fits_only_badly_cut_down_loses_to_a_smaller_one():
    cut = [one for one in LARGE if one.quant == "Q2_K"]
    best = best_of_files([cut, SMALL], machine((24, 1000)), Goal())

    assert best is not None
    assert best.name == "small"


def test_when_none_keeps_pace_the_fastest_is_best():
    best = best_of_files([LARGE, SMALL], machine(ram_bandwidth=0.5), Goal())

    assert best is not None
    assert best.name == "small"


def test_what_does_not_fit_is_no_candidate():
    assert best_of_files([LARGE], machine(ram=1), Goal()) is None
    assert best_of_files([], machine(), Goal()) is None


def test_an_embedding_model_is_not_what_was_meant():
    assert best_of_files([[candidate(bert())]], machine(), Goal()) is None


def test_an_empty_disk_has_no_best_model(tmp_path):
    assert best_on_disk(Config(cache_dir=str(tmp_path)), machine(), Goal()) is None


def test_every_described_board_is_offered_something(tmp_path):
    for board in ("rpi5", "rtx4090", "strix-halo-128"):
        best = best_to_download(Config(cache_dir=str(tmp_path)), hardware_from_board(board), Goal())
        assert best is not None, board
        assert best.plan.decode_tok_s is not None


def test_a_larger_machine_is_offered_no_smaller_model(tmp_path):
    config = Config(cache_dir=str(tmp_path))
    small, large = (
        best_to_download(config, machine(ram=ram, ram_bandwidth=100), Goal()) for ram in (8, 16)
    )

    assert small is not None
    assert large is not None
    assert small.candidate.spec.n_params <= large.candidate.spec.n_params


def test_memory_that_one_plan_takes_is_not_offered_to_the_next():
    hardware = machine((24, 1000), ram=64)
    plan = choose(hardware, LARGE, Goal(), load_profiles())

    rest = this_machine.without(hardware, plan)

    for share in plan.shares:
        before, after = hardware.pool(share.pool_id), rest.pool(share.pool_id)
        assert after.free_bytes == before.free_bytes - share.total_bytes


def test_what_is_left_is_never_less_than_nothing():
    hardware = machine(ram=64)
    plan = choose(hardware, LARGE, Goal(), load_profiles())
    full = replace(hardware, pools=tuple(replace(p, free_bytes=1) for p in hardware.pools))

    assert this_machine.without(full, plan).host.free_bytes == 0
