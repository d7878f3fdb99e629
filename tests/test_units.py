import pytest

from edgellm.units import format_params


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (7_615_616_512, "7.6 B"), (70_553_706_496, "70.6 B"), (671_026_419_200, "671 B"),
        (596_049_920, "596 M"), (99_970_000, "100 M"), (260_032, "260 K"), (999, "999"), (0, "0"),
        (999_960_000, "1.0 B"), (999_500_000, "1.0 B"), (999_499_999, "999 M"), (999_500, "1.0 M"),
    ],
)  # fmt: skip
def test_parameters_are_counted_as_models_names_do(n, words):
    assert format_params(n) == words
