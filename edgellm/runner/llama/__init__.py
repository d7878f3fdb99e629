"""llama.cpp itself. Nothing is decided here, and only the child programs import it.

`backend` carries out a step's operations and rows. `compute` and `rows` are the call of
llama_decode; `state`, `copy` and `partial` the memory that is copied out and back, `streams` and
`values` the parts of a copy that depend on the layout. `drawing`, with `logits` and `sampling`, is
the way to a token, for which `preparation` has made ready; `adapters` are the LoRA sets. `load`,
with `overrides`, makes models and contexts on the devices that `backends` registers and `devices`
tells apart; `limits` says what these offer, `first_decodes` the part of it that has to be tried
out. `vocab` and `pieces` are text to tokens and back. `draft` and `mtp` guess, `embed` and `images`
compute what is no text, and `oracle` asks what devices that may not exist would have to hold.
"""
