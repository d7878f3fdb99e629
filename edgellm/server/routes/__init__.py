"""What stands behind a path: a request in, an ASGI answer out.

`text` has OpenAI's chats and completions (with pictures from `image_hosts`), `embeddings`, `models`
and `rerank` what their names say. llama-server's are `infill` (which answers in its dialect,
`native_completion`), `lora`, `props` and `words`. `about` and `steps` tell of this server. `reach`
is what requests may name beyond it.
"""
