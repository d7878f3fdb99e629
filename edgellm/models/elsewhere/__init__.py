"""What other tools have downloaded, found where it lies. Nothing is ever written there.

`reference` is what people call such a model, `found` what is known of one without a look into its
file, `shut` what keeps a user out. A file a tool: `ollama`, whose `manifest` names blobs, some of
them in `forms` of its own, and those with folders of GGUF files (`folders`): `lmstudio`,
`llamacpp`, `jan`, `gpt4all`. `tools` is all of them in a row.
"""
