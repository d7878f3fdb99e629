"""Work beside the loop, each kind on a thread of its own (`one_thread`).

`compiling` gets structures ready, `reading` makes long texts into tokens, `looking` makes pictures
into rows, `adapter_loading` reads LoRA files. What they have done comes to the loop by its `inbox`.
"""
