"""Energy: how much there was, whose it was, what it cost, and how to need less of it.

`joules` makes energy of counters and watts, `ledger` says whose it is, and `accounting` joins both
with what the workers tell. `cost` is what tokens cost in money. `power_limit` is what a driver
allows, `power_curve` which limit is worth having.
"""
