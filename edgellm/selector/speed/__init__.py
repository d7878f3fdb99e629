"""How fast a placement is, and how sure that is. Pure.

`work` is what a step has a device do, `rates` how long that takes by what is known of devices
(`speed_profile`), `stages` how the devices follow one another, `speed` the tokens a second that
come of it. `flash` and `kernels` say what has a fast way; no placement is faster than `bounds`.
"""
