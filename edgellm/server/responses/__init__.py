"""OpenAI's words for an agent's turns, the Responses API: like `openai`, which has the words that
both share. Pure, and nothing is kept: each request brings the whole conversation.

`requests` reads a request: its conversation (`items`), its `tools`, and what is `unserved`.
`object` is the response as it is written, `happenings` what a stream tells of it; `output` makes
both of the model's events, and `answers` their bytes, whole or as a stream.
"""
