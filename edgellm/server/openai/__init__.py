"""OpenAI's words for texts: a request's bytes in, an answer's bytes out. Pure.

`requests` reads a chat or a completion: its `messages` and tools with their `images` and what else
is `attached`, what its tokens are made of (`samplers`), what bounds it (`sampling`), binds it
(`structure`) and is said of `thoughts`, whether an answer has begun (`continuing`), and what is
`unserved`; `filling` asks for the middle where there is a suffix. `chat` and `completions` write
answers, whole or as a stream: what they share is in `object` (the outer shape) and `wire` (usage,
timings, log-probabilities). `transcriptions` are asked for by `forms`.
"""
