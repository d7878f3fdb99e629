"""Commands gather, decide, print; only main() exits."""

import gc

# Objects between two sweeps. A start makes some hundred thousand that live to the end, and a plan
# draws a million that die by themselves: sweeping as often as Python would costs a tenth of it.
gc.set_threshold(100_000)
