"""Ollama's words: a request's bytes in, an answer's lines out. Pure.

`requests` reads a chat or a prompt: its `messages`, its `options`, what its `thinking` is to be,
and how long its model is to be `staying` from then on.
`answers` writes both, whole or line by line, of what is in `wire` (times, durations, errors);
`calls` makes whole tool calls of those that come in pieces. `embeds` has vectors, `pulls` how far a
download is, `cards` what is told of a model, `refusals` what is left to the command line here.
"""
