import pytest

from edgellm.server.door.patience import Patience

PATIENCE = Patience(body_s=10.0, least_body_bytes_s=100.0)


@pytest.mark.parametrize(
    ("n_bytes", "waited_s", "left_s"), [(0, 0.0, 10.0), (500, 3.0, 12.0), (0, 12.0, -2.0)]
)
def test_every_byte_buys_time(n_bytes, waited_s, left_s):
    assert PATIENCE.left_for_body_s(n_bytes, waited_s) == left_s


def test_a_slow_line_has_time_for_a_big_picture():
    patience = Patience()
    line_bytes_s, picture_bytes = 2000, 8 * 2**20
    for n_bytes in range(0, picture_bytes, 64 * 1024):
        assert patience.left_for_body_s(n_bytes, n_bytes / line_bytes_s) >= 30
