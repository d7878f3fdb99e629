"""Work beside the loop, each kind on a thread of its own.

`compiling` makes structures ready, `reading` long texts into tokens, `looking` pictures into rows,
`adapter_loading` LoRA files into memory; each is
`one_thread`. What they have done comes through the loop's `inbox`.
"""
