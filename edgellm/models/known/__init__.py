"""Models known without a file: profiles/models/*.toml, and the headers that they would have.

`catalog` reads them, `ratings` says how good each is; `shape` is what is published of one, `shapes`
makes a header of it: `blocks` names the tensors, `architectures` says how they differ, `mix` which
type each of them gets.
"""
