"""How fast a placement is, and how sure that is. Pure.

It depends on a `setup`: a model in a context, placed on a machine. `work` is what a step has a
device do, `rates` how long that takes by what is known of devices (`speed_profile`), `stages` how
the devices follow one another, `speed` the tokens a second that come of it. `flash` and `kernels`
say which heads have a fast kernel; no placement is faster than its `bounds`.
"""
