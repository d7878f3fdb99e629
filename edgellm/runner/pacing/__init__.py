"""Which rows go into the next step, how many, and how they are computed. Pure.

`fairness` says who is next, `turns` who may run together. `pace` bounds a prompt's chunk by what
steps cost: `costs`, which `rehearsal` measures at load and every step corrects, and of which
`looking_back` is the part that grows with a prompt's depth. `mask_turns` bounds the time that
structures may take of a step. `crowding` computes with fewer threads beside a busy neighbour.
`layouts` says whether another layout of the KV cells would have been faster, by what `looks` counts
and `depth_trial` measures. `recorder` keeps the last thousand steps; `smoothing` is how a new
measurement moves an old belief.
"""
