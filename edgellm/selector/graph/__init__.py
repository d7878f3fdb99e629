"""llama.cpp's compute graphs, replayed without computing: only to see what memory they take.

`tensors` are ggml's operations as shapes, `schedule` its scheduler, `allocator` its graph
allocator; `blocks` and its neighbours are llama.cpp's layers. Each follows its source by name, so
that a new llama.cpp can be followed by reading two files side by side.
"""
