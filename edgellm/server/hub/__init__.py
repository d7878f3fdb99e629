"""The models on this disk, served as a hub: what HF_ENDPOINT may name in place of huggingface.co.

`asked` is what a request wants, `ranges` which part of a file, `told` what is answered, `page` what
a person reads; they are pure. `shelf` looks at the disk, with `digests` of what no name tells;
`sending` takes a file to its client, and `app` puts all of that together. Nothing is ever asked
of another hub: what isn't here is not there.
"""
