"""What tokens cost on a machine that was bought, and on one that is rented. Pure arithmetic.

    energy, an hour of use        kW × price of a kWh
    standing charges, an hour     monthly / (730 × utilisation)
    the purchase, an hour         capex / (years × 8760 × utilisation)
    a million tokens              cost of an hour / (tok/s × 3600) × 10⁶
    break-even                    capex / (rent − standing charges − energy), in hours of use

An hour of use is an hour in which it writes; utilisation is the share of all hours that are so. One
currency throughout. What an idle machine draws is not in it, nor is its resale.
"""

from dataclasses import dataclass

HOURS_A_YEAR = 8760.0
HOURS_A_MONTH = HOURS_A_YEAR / 12  # 730


@dataclass(frozen=True, slots=True)
class Owned:
    capex: float = 0.0
    monthly: float = 0.0  # a rack, a line, insurance
    years: float = 3.0  # over which the purchase is written off
    utilisation: float = 1.0  # 0 to 1
    watts: float | None = None  # while it writes; None: no sensor tells
    per_kwh: float | None = None

    @property
    def energy_per_hour(self) -> float | None:
        if self.watts is None or self.per_kwh is None:
            return None
        return self.watts / 1000 * self.per_kwh

    @property
    def standing_per_hour(self) -> float:
        return self.monthly / (HOURS_A_MONTH * self.utilisation)

    @property
    def purchase_per_hour(self) -> float:
        return self.capex / (self.years * HOURS_A_YEAR * self.utilisation)

    @property
    def running_per_hour(self) -> float:
        """All but the purchase. Energy that nobody knows is not in it."""
        return self.standing_per_hour + (self.energy_per_hour or 0.0)

    @property
    def per_hour(self) -> float:
        return self.running_per_hour + self.purchase_per_hour

    def after(self, hours: float) -> float:
        """All that was paid after so many hours of use."""
        return self.capex + hours * self.running_per_hour


def per_million(per_hour: float, tok_s: float) -> float:
    return per_hour / (tok_s * 3600) * 1e6


def break_even_h(owned: Owned, rent_per_hour: float) -> float | None:
    """Hours of use after which owning has cost less. None: never, the rent is lower than what
    owning costs by the hour."""
    saved = rent_per_hour - owned.running_per_hour
    return owned.capex / saved if saved > 0 else None


def rented_per_request(per_hour: float, requests_a_day: float) -> float:
    """Of a machine that is rented by the day, whether it works or not."""
    return per_hour * 24 / requests_a_day


def owned_per_request(owned: Owned, requests_a_day: float) -> float:
    return owned.per_hour * 24 * owned.utilisation / requests_a_day
