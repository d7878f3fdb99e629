"""OpenAI's words for an agent's turns, the Responses API: like `openai`, which has the words that
both share. Pure, and no conversation is kept: each request brings all of it.

`requests` reads a request: its conversation (`items`), its `tools`, and what is `unserved`.
`recall` has items of the last answers, for clients that give back their ids alone.
`object` is the response as it is written, `happenings` what a stream tells of it; `output` makes
both of the model's events, and `answers` their bytes, whole or as a stream.
"""
