"""llama.cpp itself. Nothing is decided here, and only the child programs import it.

`backend` obeys a step's operations and rows: `compute` and `rows` are the call of llama_decode,
`state`, `copy` and `partial` the memory that is copied out and back, `streams` what of a
copy tells of the layout, `drawing` with `logits` and
`sampling` the way to a token, for which `preparation` has made ready, `adapters` the LoRA sets.
`load`, with `overrides`, makes models and contexts, on the devices that `backends` brings and
`devices` knows again; `limits` says what these offer, `first_decodes` what of it has to be tried.
`vocab` and `pieces` are text to tokens and back. `draft` and `mtp` guess, `embed` and `images`
compute what is no text, and `oracle` asks what devices that may not exist would have to hold.
"""
