from edgellm.cli.commands.doctor import lines
from edgellm.cli.doctoring.findings import Finding

FINDING = Finding("hub", "problem", "models can't be pulled from there", "say where they are")


def test_what_does_not_fit_beside_a_name_goes_on_below_it_between_words():
    assert list(lines(FINDING, 6, 36)) == [
        "FAIL  hub     models can't be pulled",
        "              from there",
        "              → say where they are",
    ]


def test_who_reads_it_by_a_program_has_each_finding_in_one_line():
    assert list(lines(FINDING, 6, None)) == [
        "FAIL  hub     models can't be pulled from there",
        "              → say where they are",
    ]
