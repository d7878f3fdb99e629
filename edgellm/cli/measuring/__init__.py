"""What `bench`, `tune` and `cost` measure and reckon, and how that is told.

`benchmark` and `trials` measure, `reporting` tells; `costs` reckons, `cost_report` tells.
"""
