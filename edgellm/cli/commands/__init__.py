"""The commands: they gather, decide and print.

One file each, but that `models` has those of files (`pull`, `list`, `show`, `rm`), `bundles` has
`export` and `import`, `ps` has `stop`, and `screen` is `top`. The others are `bench`, `cost`,
`doctor`, `launch`, `mirror`, `plan`, `probe`, `recommend`, `record`, `run`, `serve`, `tune`,
`up`, `usage` and `verify`.
"""
