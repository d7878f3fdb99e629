import pytest

from edgellm.meter.usage.counts import Day, Use, report, total


def day(key="anna", model="tiny", *, machine_j=None, **counts):
    return Day(keys={key: {model: Use(**counts)}}, machine_j=machine_j)


def test_counts_add_up_by_key_and_model():
    sums = total([
        day(n_requests=1, n_prompt=10, n_cached=4, n_output=5, work_s=2.0),
        day(n_requests=1, n_prompt=1, work_s=1.0, energy_j=3.0),
        day(model="other", n_requests=1),
        day("bob", n_refused=2),
    ])  # fmt: skip
    assert sums.keys["anna"]["tiny"] == Use(
        n_requests=2, n_prompt=11, n_cached=4, n_output=5, work_s=3.0, energy_j=3.0
    )
    assert sums.keys["anna"]["other"].n_requests == 1
    assert sums.keys["bob"]["tiny"].n_refused == 2
    assert (sums.n_tokens("anna"), sums.n_tokens("nobody")) == (16, 0)


def test_what_nobody_knows_stays_unknown():
    sums = total([day(n_requests=1), day(n_requests=1)])
    use = sums.keys["anna"]["tiny"]
    assert (use.work_s, use.energy_j, sums.machine_j) == (None, None, None)


def test_to_add_leaves_what_is_added_as_it_was():
    one, other = day(n_requests=1), day(n_requests=2)
    one.add(other)
    assert (one.keys["anna"]["tiny"].n_requests, other.keys["anna"]["tiny"].n_requests) == (3, 2)
    one.add(day("bob", n_requests=1))
    assert "bob" not in other.keys


def test_a_day_is_something_once_anything_was_counted():
    assert not Day()
    assert day()
    assert Day(machine_j=0.0)


DAYS = {
    "2026-11-02": day("bob", n_requests=1, energy_j=1.8e6, machine_j=7.2e6),
    "2026-11-01": day("anna", n_requests=2, energy_j=3.6e6, machine_j=3.6e6),
}


def test_a_report_has_days_in_order_and_money_where_there_is_a_price():
    told = report(DAYS, price=0.5, currency="EUR")
    assert [(row.day, row.key, row.cost) for row in told.rows] == [
        ("2026-11-01", "anna", 0.5), ("2026-11-02", "bob", 0.25),
    ]  # fmt: skip
    assert [(row.day, row.cost) for row in told.machine] == [
        ("2026-11-01", 0.5), ("2026-11-02", 1.0),
    ]  # fmt: skip
    assert {row.cost for row in report(DAYS, price=None, currency="EUR").rows} == {None}


def test_a_keys_own_report_tells_of_nobody_else_and_not_of_the_machine():
    told = report(DAYS, key="bob", price=0.5, currency="EUR")
    assert [row.key for row in told.rows] == ["bob"]
    assert told.machine == []


@pytest.mark.parametrize("order", [1, -1])
def test_unknown_and_known_add_to_what_is_known(order):
    a, b = [day(energy_j=2.0), day()][::order]
    assert total([a, b]).keys["anna"]["tiny"].energy_j == 2.0
