"""From a hub to this disk: whole, checked, resumed after anything.

`hub` is the border, `modelscope` another hub behind it (`modelscope_words`: its JSON); `ways` lead
there, by proxies and certificates. `http_range` reads parts of a file, `remote` headers by them.
`download` keeps its `terms` and a `journal` under a `lock`, checks the `digest`, and leaves the
file where `cache_layout` says.
"""
