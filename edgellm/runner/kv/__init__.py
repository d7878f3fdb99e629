"""Who owns which KV cells, and what of them is kept for whom. Pure.

`memory` is what the scheduler sees: `unified` (one pool, counted by `cells`) or `split` (a stream
for each id), and `checkpointed` where sequences carry a state, with ended ones `aside` or
`in_place`. `prefix` finds what a prompt has in common with the cells; `checkpoints` and `stops` say
where a state can be forked; `last_read` is what several copies of one stream have in common. What
leaves the cells may take what `copying` says: stretches go by `spill`, within a `copy_budget`, to
the `shelf`'s `edge`s, whole conversations by `away` to host memory and by `archived` to the
`archive` of each `whole_file`; `prefix_file` is the form of either on disk. `carrying` is what a
memory of another layout takes over.
"""
