"""Which devices keep what. Pure.

`machine` is the room that there is, `devices` which of them take part, `split` and `filling` who
gets which layers, `experts` which experts leave them, `proportions` llama.cpp's word for it.
`draft` and `head` find room for a model that guesses.
"""
