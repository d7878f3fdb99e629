"""What `bench`, `tune` and `cost` measure and reckon, and how that is told.

`benchmark` measures, `reporting` tells; `trials` and `tune_report`, `costs` and `cost_report`
likewise. `power` measures what a token takes at each power limit, for `tune --power`; `plotting`
draws. `usage_report` tells who has used what.
"""
