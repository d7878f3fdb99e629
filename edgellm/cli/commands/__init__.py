"""The commands: they gather, decide and print.

One file each, but that `models` has those of files (`pull`, `list`, `show`, `rm`), `bundles` has
`export` and `import`, and `ps` has `stop`. The others are `bench`, `cost`, `doctor`, `launch`,
`mirror`, `plan`, `probe`, `recommend`, `record`, `run`, `serve`, `top`, `tune`, `up`, `usage` and
`verify`.
"""
