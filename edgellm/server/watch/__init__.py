"""What is seen of the models and devices while they serve.

`live` gathers the whole state, `metrics` counts requests, with `histograms` of what they took, and
`gauges` names the state for Prometheus.
`checkup` judges a model's health by what was `expected` and by the CPU's `contention`; `webhook`
tells of it. `joules` says what an answer's energy was. `books` are kept of whose requests run and
what they have used; `shares` tells Prometheus of that.
"""
