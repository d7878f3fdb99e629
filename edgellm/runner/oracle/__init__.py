"""What llama.cpp says a model takes on devices that may not exist, asked in a process of its own.

`oracle` is the selector's `Oracle`, `cache` what it was told before. `process` and `messages` reach
the program `oracle_child`, whose `devices` are built of `structs` and answer by `rules`; `layers`
says where llama.cpp's own estimate is put right.
"""
