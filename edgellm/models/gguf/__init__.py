"""The GGUF header: as few bytes as will do, and nothing that a stranger wrote is believed.

`header` reads it out of `values`; `known_arrays` recognises vocabularies that were read before,
`siblings` reads a repository's other headers without its vocabulary. `skeleton` is a file without
weights, for llama.cpp to plan with. `loadable` lists the architectures that it can load,
`vocabulary` checks for the faults that it aborts at.
"""
