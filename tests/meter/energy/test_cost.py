import pytest

from edgellm.meter.energy.cost import (
    Owned,
    break_even_h,
    owned_per_request,
    per_million,
    rented_per_request,
)


def test_ten_thousand_and_five_hundred_a_month_against_an_h100_break_even_after_4990_hours():
    """10,000 / (2.69 − 500 / 730) = 10,000 / 2.00507."""
    hours = break_even_h(Owned(capex=10_000, monthly=500), 2.69)

    assert hours == pytest.approx(4987.4, abs=0.1)
    assert round(hours, -1) == 4990


def test_fifty_requests_a_day_on_a_rented_4090_cost_sixteen_cents_each():
    assert rented_per_request(0.34, 50) == pytest.approx(0.1632)


def test_at_the_break_even_both_have_cost_the_same():
    owned = Owned(capex=2000, monthly=20, utilisation=0.25, watts=350, per_kwh=0.30)
    hours = break_even_h(owned, 1.39)

    assert owned.after(hours) == pytest.approx(1.39 * hours)


def test_what_costs_more_by_the_hour_than_the_rent_never_pays():
    assert break_even_h(Owned(capex=1, monthly=500, utilisation=0.1), 2.69) is None
    assert break_even_h(Owned(capex=1, watts=2000, per_kwh=0.30), 0.34) is None


def test_an_hour_has_its_three_parts():
    owned = Owned(capex=8760, monthly=73, years=2, utilisation=0.5, watts=400, per_kwh=0.25)

    assert owned.energy_per_hour == pytest.approx(0.10)
    assert owned.standing_per_hour == pytest.approx(0.20)
    assert owned.purchase_per_hour == pytest.approx(1.0)
    assert owned.per_hour == pytest.approx(1.30)
    assert per_million(owned.per_hour, 100) == pytest.approx(1.30 / 0.36)


def test_a_request_of_ones_own_machine_pays_for_the_whole_day():
    owned = Owned(capex=3 * 365 * 10.0, utilisation=0.5)
    assert owned_per_request(owned, 100) == pytest.approx(0.10)


@pytest.mark.parametrize("unknown", [{"watts": None}, {"per_kwh": None}])
def test_energy_that_nobody_knows_is_no_zero(unknown):
    owned = Owned(**{"capex": 10, "watts": 100.0, "per_kwh": 0.3, **unknown})
    assert owned.energy_per_hour is None
    assert owned.per_hour == owned.purchase_per_hour
