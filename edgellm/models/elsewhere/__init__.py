"""What other tools have downloaded, found where it lies. Nothing is ever written there.

`reference` is what people call such a model, `found` what is known of one without a look into its
file, `unreadable` which folders a user may not read. A file a tool: `ollama`, whose `manifest`
names blobs, some of them in a format of its own (`ollama_format`); and those with folders of GGUF
files (`folders`): `lmstudio`, `llamacpp`, `jan`, `gpt4all`. `tools` is the table of them all.
"""
