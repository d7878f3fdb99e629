"""llama.cpp's compute graphs, replayed without computing: only to see what memory they take.

`tensors` are ggml's operations as shapes, `schedule` its scheduler, `allocator` its graph
allocator, `backends` what devices add to both. `outline` is what a model's graph depends on,
`build` the words that llama.cpp's model files use. In these are written its layers: `attention`,
`latent`, `feed_forward`, what keeps a state (`states`, `mamba`, `rwkv`, `delta_net`); and of them
the models: `transformer`, `encoder`, `hybrid`, `gemma4`. `families` says which architecture is
which, `replay` runs one. Each follows its source by name, so that a new llama.cpp can be followed
by reading two files side by side.
"""
