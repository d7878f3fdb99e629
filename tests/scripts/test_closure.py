import pytest
from wheel_files import wheel

from scripts.setup import closure
from scripts.setup.target import Target

TARGET = Target("linux-aarch64", ("3.13", "3.11"))


@pytest.mark.parametrize(("python", "missing"), [("3.13", ("newer>=2",)), ("3.11", ("backport",))])
def test_a_marker_is_asked_about_the_target_and_not_about_this_python(tmp_path, python, missing):
    wheel(
        tmp_path,
        "wanted",
        "newer>=2; python_version >= '3.13'",
        "backport; python_version < '3.12'",
    )
    assert closure.missing(tmp_path, ["wanted"], TARGET.markers(python)) == missing


def test_so_is_its_platform(tmp_path):
    wheel(tmp_path, "wanted", "arm; platform_machine == 'aarch64'", "mac; sys_platform == 'darwin'")
    assert closure.missing(tmp_path, ["wanted"], TARGET.markers("3.13")) == ("arm",)
    mac = Target("macos-arm64", ("3.13",)).markers("3.13")
    assert closure.missing(tmp_path, ["wanted"], mac) == ("mac",)


def test_what_the_wanted_want_is_followed_through_with_its_extras(tmp_path):
    wheel(tmp_path, "Top_Level", "middle[fast]>=1")
    wheel(tmp_path, "middle", "speed; extra == 'fast'", "docs; extra == 'doc'", "top-level")
    assert closure.missing(tmp_path, ["top.level"], TARGET.markers("3.13")) == ("speed",)


def test_a_folder_that_has_all_lacks_nothing(tmp_path):
    wheel(tmp_path, "wanted", "needed")
    wheel(tmp_path, "needed")
    assert closure.missing(tmp_path, ["wanted"], TARGET.markers("3.13")) == ()


def test_a_source_packages_metadata_lists_what_a_wheels_does(tmp_path):
    made = wheel(tmp_path, "wanted", "a", "b; extra == 'x'")
    listed = ("a", "b; extra == 'x'")
    assert closure.required_by(made) == listed
    assert (
        closure.requirements_of("Name: x\nRequires-Dist: a\nRequires-Dist: b; extra == 'x'\n\ntext")
        == listed
    )
    assert closure.requirements_of("Name: x\n") == ()
