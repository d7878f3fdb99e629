import pytest

from edgellm.runner.child import with_huge_pages


def test_malloc_is_asked_for_huge_pages():
    assert with_huge_pages("") == "glibc.malloc.hugetlb=1"


def test_other_tunables_of_the_user_stay():
    asked = "glibc.malloc.arena_max=2"
    assert with_huge_pages(asked) == f"{asked}:glibc.malloc.hugetlb=1"


@pytest.mark.parametrize(
    "asked", ["glibc.malloc.hugetlb=0", "glibc.rtld.nns=4:glibc.malloc.hugetlb=2"]
)
def test_a_word_of_the_user_on_huge_pages_stands(asked):
    assert with_huge_pages(asked) == asked
