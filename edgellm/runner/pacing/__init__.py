"""Whose rows come into the next step, how many, and how they are computed. Pure.

`fairness` says who is next, `turns` who may run together; `pace` says how long a prompt's chunk may
be, by `costs` that `rehearsal` measured and every step corrects, of which `looking_back` is what a
prompt's depth adds. `mask_turns` says whose structures may take time of it. `crowding` takes
threads away beside a busy neighbour, `layouts` says whether the other layout of KV cells would have
been faster, `recorder` keeps the last thousand steps; `smoothing` is how what is measured anew
moves what is believed.
"""
