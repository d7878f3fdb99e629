"""The GGUF header: as few bytes as will do, and nothing that a stranger wrote is believed.

`header` reads it out of `values`; `walked` knows arrays of strings again that were stepped over
before, `siblings` reads a repository's other headers without its vocabulary. `skeleton` is a file
without weights, for llama.cpp to plan with. `loadable` are the architectures that it can load,
`vocabulary` the faults that it aborts at.
"""
