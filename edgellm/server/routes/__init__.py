"""What stands behind a path: a request in, an ASGI answer out.

`text` has OpenAI's chats and completions (with pictures from `image_hosts`), `responses` its newer
API, where those that are kept are `stored`, and those that nobody waits for in the `background`;
`anthropic` has Anthropic's, `audio` transcriptions, `embeddings`, `models` and `rerank` what their
names say.
llama-server's are `completion` and `infill` (which answer in its dialect, `native_completion`),
`lora`, `props` and `words`. Ollama's texts are in `ollama`, its vectors in `ollama_embed`, what it
tells of models in `ollama_models`; LM Studio's models in `lm_studio`. `warned` are answers with a
remark. `about` and `steps` tell of this server, `usage` of who used what of it. `reach` is what
requests may name beyond it.
"""
