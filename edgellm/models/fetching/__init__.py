"""From a hub to this disk: whole, checked, resumed after anything.

`hub` is the border, with Hugging Face behind it; `modelscope` is another (`modelscope_api`: its
JSON). `http_client` knows proxies and certificates, `http_range` reads parts of a file, `remote`
headers by these. `download` keeps its `policy` and a `journal` under a `lock`, checks the `digest`,
and leaves the file where `cache_layout` says.
"""
