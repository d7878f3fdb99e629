"""How many bytes a model takes, by who needs them and what for. Pure.

`memory` adds up `weights`, `kv` and what activations take: `compute` exactly where `graph/` knows
the model, `estimate` from its matrices where not, `buffers` between few that are exact. `load` is a
model in a context (`shape`) as placements see it, `layout` who keeps which part, `shares` that
layout against the pools. `process`, `beside` and `leaving` are what stands around it; `budget` is
what may be planned with.
"""
