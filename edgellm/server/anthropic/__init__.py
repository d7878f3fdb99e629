"""Anthropic's words for chats, the Messages API: like `openai`, which has the words that both
share. Pure.

`requests` reads a request: its conversation (`messages`) and its `tools`. `object` is the message
as it is written and what a stream tells of it; `content` makes its blocks of the model's events,
and `answers` their bytes, whole or as a stream. `errors` has an error in these words, `cards` the
list of models.
"""
