"""OpenAI's words for an agent's turns, the Responses API: like `openai`, which has the words that
both share. Pure.

`requests` reads a request: its conversation (`items`), its `tools`, and what is `unserved`.
`store` keeps responses, `earlier` reads what a request names of them, `listing` shows their input.
`object` is the response as it is written, `happenings` what a stream tells of it; `output` makes
both of the model's events, and `answers` their bytes, whole or as a stream. `truncation` leaves
out what has no place in the context.
"""
